/** Fills a data directory through the store, in this process, as runtimes before would have left it: much faster than they. */
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import type { Session, SessionStatus } from "../../src/domain/Session.ts"
import { resolveSpec, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { Commit } from "../../src/domain/SessionStore.ts"
import type { TranscriptBody, TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Turn } from "../../src/domain/Turn.ts"
import * as SqlStores from "../../src/store/SqlStores.ts"
import { SessionStore } from "../../src/domain/SessionStore.ts"

export interface Stored {
  readonly name: string
  readonly spec?: SessionSpecInput
  /** Default: suspended, by idleness. */
  readonly status?: SessionStatus
  /** Of completed turns, each with its own prompt as the answer, as `cat` gives. Default 1. */
  readonly turns?: number
  /** The record alone. */
  readonly bare?: boolean
}

const at = Date.parse("2026-01-01T00:00:00Z")

/** A `cat` that was started, asked, and is not there any more: all in one commit. */
const commitOf = (
  index: number,
  { name, spec, status = "suspended", bare = false, turns = bare ? 0 : 1 }: Stored,
): Commit => {
  const id = `ses_stored${index.toString(36)}` as SessionId
  const entries: Array<TranscriptEntry> = []
  const append = (body: TranscriptBody, turn?: TurnId) => {
    const common = { session: id, seq: entries.length + 1, at: at + index, incarnation: 1 }
    entries.push({ ...common, ...(turn === undefined ? {} : { turn }), ...body } as TranscriptEntry)
    return entries.length
  }
  append({ type: "status", status: "starting" })
  append({ type: "process/spawned", pid: 1000 + index, containment: "guard" })
  append({ type: "status", status: "ready" })
  const ended = Array.from({ length: turns }, (_, number): Turn => {
    const turn = `turn_${id.slice(4)}T${(number + 1).toString(36)}` as TurnId
    const prompt = `${name} remembers ${number}`
    const firstSeq = append({ type: "turn/queued", prompt }, turn)
    append({ type: "turn/started", attempt: 1 }, turn)
    append({ type: "turn/delta", text: prompt }, turn)
    const end = { status: "completed", text: prompt, stopReason: null } as const
    const lastSeq = append({ type: "turn/ended", ...end, durationMs: 1 }, turn)
    const times = { queuedAt: at + index, startedAt: at + index, endedAt: at + index }
    return {
      ...end,
      ...times,
      id: turn,
      session: id,
      prompt,
      usage: null,
      error: null,
      idempotencyKey: null,
      firstSeq,
      lastSeq,
    }
  })
  const exit = { kind: "killedByRuntime", signal: "SIGTERM", detail: "suspend", at: at + index } as const
  append({ type: "process/exited", exit })
  append({ type: "status", status })
  const resolved = resolveSpec({ command: "cat", ...spec, name })
  const session: Session = {
    id,
    name,
    supervisor: resolved.supervisor,
    status,
    spec: resolved,
    pid: null,
    incarnation: 1,
    restarts: 0,
    turns: { queued: 0, running: 0, completed: turns, failed: 0 },
    containment: null,
    agentSessionId: null,
    forkedFrom: null,
    suspendedBy: status === "suspended" ? "idle" : null,
    pendingRequests: [],
    createdAt: at + index,
    lastActiveAt: at + index,
    expiresAt: null,
    exit,
    deaths: [{ incarnation: 1, exit, stderrTail: "" }],
    survivors: [],
    usage: null,
    seq: bare ? 0 : entries.length,
  }
  if (bare) return { session, entries: [], turns: [] }
  return { session, entries, turns: ended }
}

/** Into the database of a data directory that nobody holds. */
export const storeSessions = (dataDirectory: string, count: number, stored: (index: number) => Stored): Promise<void> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const store = yield* SessionStore
      const group = 1_000
      for (let from = 0; from < count; from += group) {
        const commits = Array.from({ length: Math.min(group, count - from) }, (_, i) =>
          commitOf(from + i, stored(from + i)),
        )
        yield* Effect.forEach(commits, (commit) => store.commit(commit), { concurrency: "unbounded", discard: true })
      }
    }).pipe(Effect.provide(SqlStores.layer({ file: join(dataDirectory, "creche.db") }))),
  )
