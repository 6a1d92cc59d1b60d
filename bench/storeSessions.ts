/**
 * Fills a data directory with suspended sessions of one turn each: `node storeSessions.ts DIRECTORY COUNT DIRECTORIES`.
 * One real session is started, asked and suspended; the others are its copies under ids and names of their own.
 */
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { SessionId } from "../src/domain/Ids.ts"
import type { Commit } from "../src/domain/SessionStore.ts"
import { openRuntime } from "../src/EmbeddedRuntime.ts"
import * as SqlSessionStore from "../src/store/SqlSessionStore.ts"
import { make as makeDirectories } from "../src/supervisor/SessionDirectories.ts"
import { databaseName, storedName } from "./StoredSessions.ts"

const [dataDirectory, count, directories] = process.argv.slice(2) as [string, string, string]
const model = "the-model-of-all"
/** Commits that are handed in together. */
const together = 1000

const modelCommit = async (): Promise<Commit> => {
  const runtime = await openRuntime()
  try {
    const { id } = await runtime.start({ name: model, command: "cat", protocol: "lines" })
    await runtime.ask(id, "what is the answer to the first question?")
    const session = await runtime.suspend(id)
    if (session.status !== "suspended") throw new Error(`the session is ${session.status}`)
    return {
      session,
      entries: (await runtime.transcript(id)).entries,
      turns: (await runtime.history(id)).turns,
    }
  } finally {
    await runtime.close()
  }
}

const commit = await modelCommit()
const text = JSON.stringify(commit)
// The ids of its turns hold the session's own.
const ownId = commit.session.id.slice("ses_".length)
const { spec } = commit.session

const copy = (i: number): Commit => {
  const made = JSON.parse(text.replaceAll(ownId, `0123456789abx${i}`)) as Commit
  const name = storedName(i)
  // One object for all that is alike, as in a runtime.
  return { ...made, session: { ...made.session, name, spec: { ...spec, name } } }
}

await Effect.runPromise(
  Effect.gen(function* () {
    const store = yield* SqlSessionStore.make({ file: join(dataDirectory, databaseName) })
    for (let from = 0; from < Number(count); from += together) {
      const some = Array.from({ length: Math.min(together, Number(count) - from) }, (_, i) => copy(from + i))
      yield* Effect.forEach(some, (each) => store.commit(each), { concurrency: "unbounded", discard: true })
      if (directories === "true")
        for (const { session } of some) makeDirectories(dataDirectory, session.id as SessionId)
    }
    // The index is complete, so that whoever comes next has nothing to catch up with.
    yield* store.search({ query: "zzzz" })
  }).pipe(Effect.scoped),
)
