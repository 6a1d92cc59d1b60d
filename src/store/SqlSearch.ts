/**
 * Full text over prompts and answers. The index follows the ended turns at a distance, in batches, so that a commit pays
 * nothing for it; a search first catches up. Turns that are still open are few and looked through as they are.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { searchedText } from "../domain/PromptText.ts"
import type { SearchHit, SearchQuery } from "../domain/SessionStore.ts"
import { matches, parseQuery, snippetOf, toIndex, type SearchWord } from "./SearchWords.ts"
import { decodeTurn, type TurnRow } from "./SessionRows.ts"
import { headOf } from "./SqlTranscript.ts"
import { nextTick, type SqliteClient } from "./SqliteClient.ts"
import { readOpenTurns } from "./SqlTurns.ts"

const defaultLimit = 50

/** Turns indexed in one go, and the text after which a batch is full: a few milliseconds. */
const batchTurns = 64
const batchSize = 256 * 1024
/** Of one prompt and one answer each so much is indexed. */
const maxText = 256 * 1024

export const indexedThrough = ({ prepare }: SqliteClient): number =>
  prepare("SELECT through FROM search_progress").get()!["through"] as number

/** Indexes some of the turns that ended since; answers how many. */
export const indexSome = (client: SqliteClient): number =>
  client.transaction(() => {
    const { prepare } = client
    const rows = prepare(
      `SELECT ordinal, id, session, first_seq, turn FROM ended_turns WHERE ordinal > ? ORDER BY ordinal LIMIT ${batchTurns}`,
    ).iterate(indexedThrough(client))
    const insert = prepare("INSERT INTO turn_words (rowid, session, prompt, text) VALUES (?, ?, ?, ?)")
    let count = 0
    let size = 0
    let through = 0
    for (const row of rows) {
      const { prompt, text } = decodeTurn(row as unknown as TurnRow)
      const asked = searchedText(prompt).slice(0, maxText)
      const answered = text.slice(0, maxText)
      through = row["ordinal"] as number
      insert.run(through, String(row["session"]), toIndex(asked), toIndex(answered))
      count++
      size += asked.length + answered.length
      if (size > batchSize) break
    }
    if (count > 0) prepare("UPDATE search_progress SET through = ?").run(through)
    return count
  })

/** Indexes what is missing, letting others have their turn in between. */
export const catchUp = (client: SqliteClient): Effect.Effect<void, StoreUnavailable> =>
  Effect.suspend(() => {
    let count = 1
    return Effect.whileLoop({
      while: () => count > 0,
      body: () =>
        Effect.andThen(
          nextTick,
          client.exclusively(() => indexSome(client)),
        ),
      step: (indexed) => {
        count = indexed
      },
    })
  })

/** In FTS5's language: strings of letters and digits alone, so nothing in them can be taken for syntax. */
const toMatch = (words: ReadonlyArray<SearchWord>, session: number | undefined): string => {
  const terms = words.map(({ text, prefix }) => `{prompt text} : "${text}"${prefix ? " *" : ""}`)
  return (session === undefined ? terms : [`session : "${session}"`, ...terms]).join(" AND ")
}

const find = (client: SqliteClient, query: SearchQuery, words: ReadonlyArray<SearchWord>): ReadonlyArray<SearchHit> => {
  const { session, limit = defaultLimit } = query
  const head = session === undefined ? undefined : headOf(client, session)
  if ((session !== undefined && head === undefined) || !(limit > 0)) return []
  const hit = (turn: ReturnType<typeof decodeTurn>): SearchHit => ({ turn, snippet: snippetOf(words, turn) })
  const open = readOpenTurns(client)
    .filter((turn) => (session === undefined || turn.session === session) && matches(words, turn))
    .toSorted((a, b) => b.queuedAt - a.queuedAt)
  const ended = client
    .prepare(
      `SELECT t.id, s.id AS session, t.first_seq, t.turn
       FROM turn_words w JOIN ended_turns t ON t.ordinal = w.rowid JOIN sessions s ON s.ordinal = t.session
       WHERE turn_words MATCH ? ORDER BY w.rowid DESC LIMIT ?`,
    )
    .all(toMatch(words, head?.ordinal), Math.trunc(limit))
    .map((row) => decodeTurn(row as unknown as TurnRow))
  return [...open, ...ended].slice(0, limit).map(hit)
}

export const search = (
  client: SqliteClient,
  query: SearchQuery,
): Effect.Effect<ReadonlyArray<SearchHit>, StoreUnavailable> => {
  const words = parseQuery(query.query)
  if (words.length === 0) return Effect.succeed([])
  return Effect.andThen(
    catchUp(client),
    client.attempt(() => find(client, query, words)),
  )
}
