/** Forgets sessions: out of every list at once, and what they leave bit by bit, also after a restart in between. */
import type * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import { inSteps } from "./LongWork.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import { batch, deleteEntries, deleteTurn, turnColumns, type EndedTurn } from "./SqlRetention.ts"
import { indexedThrough } from "./SqlSearch.ts"

/** Takes a session out of every list at once; what it leaves is for `sweepRemoved`. */
export const removeSession = (client: SqliteClient, id: SessionId): void =>
  client.transaction(() => {
    const { prepare } = client
    const ordinal = prepare("SELECT ordinal FROM sessions WHERE id = ?").get(id)?.["ordinal"]
    if (ordinal === undefined) return
    prepare("INSERT INTO removed_sessions (session) VALUES (?)").run(ordinal)
    prepare("DELETE FROM sessions WHERE ordinal = ?").run(ordinal)
    for (const table of ["session_details", "session_tags", "turn_keys"]) {
      prepare(`DELETE FROM ${table} WHERE session = ?`).run(ordinal)
    }
  })

function* remains(client: SqliteClient): Generator<void> {
  const { prepare } = client
  for (;;) {
    const next = prepare("SELECT session FROM removed_sessions LIMIT 1").get()
    if (next === undefined) return
    const session = next["session"] as number
    let left = true
    while (left) {
      left = client.transaction(() => {
        const indexed = indexedThrough(client)
        const turns = prepare(`SELECT ${turnColumns} FROM ended_turns WHERE session = ? LIMIT ${batch}`).all(
          session,
        ) as unknown as ReadonlyArray<EndedTurn>
        for (const turn of turns) deleteTurn(client, turn, indexed)
        prepare("DELETE FROM open_turns WHERE session = ?").run(session)
        const { entries } = deleteEntries(client, session, Number.MAX_SAFE_INTEGER, Infinity)
        if (turns.length + entries > 0) return true
        prepare("DELETE FROM removed_sessions WHERE session = ?").run(session)
        return false
      })
      if (left) yield
    }
    yield
  }
}

export const sweepRemoved = (client: SqliteClient): Effect.Effect<void, StoreUnavailable> =>
  inSteps(client, remains(client))
