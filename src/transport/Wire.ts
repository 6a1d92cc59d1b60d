/**
 * What clients see: the domain's values as they go over the wire. Epoch milliseconds become RFC 3339 UTC
 * strings, values of environment variables become "***", a turn gets its duration. No Schema runs here, since
 * these run for every answer and every entry: `WireSchema` says what comes out. Called by the handlers; the types are
 * the client's too.
 */
import type { ExitReason } from "../domain/ExitReason.ts"
import type { PendingRequest } from "../domain/Permission.ts"
import type { Death, Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import type { NamedTemplate } from "../supervisor/Templates.ts"
import type {
  MissedRange,
  Time,
  WireDeath,
  WireEntry,
  WireExit,
  WireRequest,
  WireSession,
  WireSpec,
  WireTemplate,
  WireTurn,
} from "./WireSchema.ts"

export type { MissedRange, Time, WireDeath, WireEntry, WireExit, WireRequest, WireSession, WireTemplate, WireTurn }

/** Values are spread, and take along what the schema does not have: here the compiler says so. */
type Uncovered<D, W> = D extends unknown ? Exclude<keyof D, keyof W> : never
type AllCovered<Fields extends ReadonlyArray<never>> = Fields
type UncoveredEntry<E extends TranscriptEntry> = E extends unknown
  ? Uncovered<E, Extract<WireEntry, { readonly type: E["type"] }>>
  : never
type UncoveredSpec<Field extends keyof SessionSpec> = Uncovered<SessionSpec[Field], WireSpec[Field]>
export type Covered = AllCovered<
  [
    Uncovered<Session, WireSession>,
    Uncovered<SessionSpec, WireSpec>,
    UncoveredSpec<"limits">,
    UncoveredSpec<"backoff">,
    UncoveredSpec<"intensity">,
    UncoveredSpec<"mailbox">,
    UncoveredSpec<"permissions">,
    UncoveredSpec<"attachments">,
    Uncovered<PendingRequest, WireRequest>,
    Uncovered<Death, WireDeath>,
    Uncovered<NamedTemplate, WireTemplate>,
    UncoveredEntry<TranscriptEntry>,
  ]
>

/** The params of every `session/event`. */
export type SessionEvent =
  | { readonly subscription: string; readonly entry: WireEntry }
  | { readonly subscription: string; readonly missed: MissedRange }
  /** The session was removed; nothing more comes, and the subscription is over. */
  | { readonly subscription: string; readonly ended: true }
  /** An entry of a turn asked with `stream`; `request` is the id of that ask. */
  | { readonly request: string | number | null; readonly turn: string; readonly entry: WireEntry }
  | { readonly request: string | number | null; readonly turn: string; readonly missed: MissedRange }

/** RFC 3339 has years of four digits; whatever is after them is as good as never. */
const latest = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

let lastAt = Number.NaN
let lastTime = ""
/** Remembers the last one: entries come in bursts of the same millisecond. */
export const wireTime = (at: number): Time => {
  if (at !== lastAt) {
    lastTime = new Date(Math.min(at, latest)).toISOString()
    lastAt = at
  }
  return lastTime
}

const wireTimeOrNull = (at: number | null): Time | null => (at === null ? null : wireTime(at))

export const wireExit = <E extends ExitReason | null>(exit: E): E extends null ? null : WireExit =>
  (exit === null ? null : { ...exit, at: wireTime(exit.at) }) as E extends null ? null : WireExit

/** A turn's error may carry the exit that caused it. */
const wireTurnError = (error: Turn["error"]): Turn["error"] => {
  if (error === null) return null
  const exit = error["exit"] as ExitReason | null | undefined
  return typeof exit === "object" && typeof exit?.at === "number" ? { ...error, exit: wireExit(exit) } : error
}

export const wireTurn = (turn: Turn): WireTurn => {
  const wired: { -readonly [K in keyof WireTurn]: WireTurn[K] } = {
    id: turn.id,
    session: turn.session,
    status: turn.status,
    prompt: turn.prompt,
    text: turn.text,
    stopReason: turn.stopReason,
    usage: turn.usage,
    error: wireTurnError(turn.error),
    idempotencyKey: turn.idempotencyKey,
    queuedAt: wireTime(turn.queuedAt),
    startedAt: wireTimeOrNull(turn.startedAt),
    endedAt: wireTimeOrNull(turn.endedAt),
    durationMs: turn.startedAt === null || turn.endedAt === null ? null : turn.endedAt - turn.startedAt,
    firstSeq: turn.firstSeq,
    lastSeq: turn.lastSeq,
  }
  if (turn.timeoutMs !== undefined) wired.timeoutMs = turn.timeoutMs
  return wired
}

/** A spec never changes, and many sessions of one template share theirs. */
const hiddenSpecs = new WeakMap<SessionSpec, SessionSpec>()

const hiddenEnv = (env: SessionSpec["env"]): SessionSpec["env"] =>
  Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value === null ? null : "***"]))

export const wireTemplate = ({ name, source, template }: NamedTemplate): WireTemplate => ({
  name,
  source,
  template: template.env === undefined ? template : { ...template, env: hiddenEnv(template.env) },
})

const wireSpec = (spec: SessionSpec): SessionSpec => {
  let hidden = hiddenSpecs.get(spec)
  if (hidden === undefined) {
    hidden = { ...spec, env: hiddenEnv(spec.env) }
    hiddenSpecs.set(spec, hidden)
  }
  return hidden
}

export const wireSession = (session: Session): WireSession => ({
  ...session,
  spec: wireSpec(session.spec),
  createdAt: wireTime(session.createdAt),
  lastActiveAt: wireTime(session.lastActiveAt),
  expiresAt: wireTimeOrNull(session.expiresAt),
  exit: wireExit(session.exit),
  pendingRequests: session.pendingRequests.map((request) => ({
    ...request,
    requestedAt: wireTime(request.requestedAt),
    expiresAt: wireTime(request.expiresAt),
  })),
  deaths: session.deaths.map((death) => ({ ...death, exit: wireExit(death.exit) })),
})

export const wireEntry = (entry: TranscriptEntry): WireEntry => {
  const wired: Record<string, unknown> = { ...entry, at: wireTime(entry.at) }
  if (entry.type === "process/exited") wired["exit"] = wireExit(entry.exit)
  else if (entry.type === "turn/ended" && entry.error !== undefined) wired["error"] = wireTurnError(entry.error)
  return wired as WireEntry
}
