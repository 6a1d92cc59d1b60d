/** What a runtime that comes back has to find out about the records it finds. Called by the supervisor of sessions. */
import { isDeepStrictEqual } from "node:util"
import * as Effect from "effect/Effect"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { RecoverableSession, SessionStore } from "../domain/SessionStore.ts"
import type { Turn } from "../domain/Turn.ts"

/** Its first start was cut off: nobody was ever told that there is such a session, and nobody waits for it. */
export const neverBegan = ({ session, openTurns }: RecoverableSession): boolean =>
  session.incarnation <= 1 &&
  openTurns.length === 0 &&
  session.seq <= neverBegunEntries &&
  (session.status === "starting" || session.status === "authenticating")

/** `starting`, `process/spawned`, `authenticating`: one that was ready once, and is starting again, has more. */
const neverBegunEntries = 3

/** As kept: JSON knows no undefined. */
export const sameSpec = (a: SessionSpec, b: SessionSpec): boolean =>
  isDeepStrictEqual(JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b)))

/** A turn that was running, with what was heard of its answer; the record of an open turn has none of it. */
export const withTextSoFar = (store: SessionStore["Service"], turn: Turn): Effect.Effect<Turn> =>
  Effect.gen(function* () {
    if (turn.status !== "running") return turn
    let text = ""
    let after = turn.firstSeq - 1
    while (true) {
      const { entries, nextAfter } = yield* store.transcript(turn.session, {
        turn: turn.id,
        types: ["turn/delta"],
        after,
      })
      for (const entry of entries) if (entry.type === "turn/delta") text += entry.text
      if (entries.length === 0 || nextAfter <= after) return { ...turn, text }
      after = nextAfter
    }
    // The answer that is lost anyway is no reason not to come back.
  }).pipe(Effect.catch(() => Effect.succeed(turn)))
