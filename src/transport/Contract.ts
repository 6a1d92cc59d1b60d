/**
 * The public contract, declared once: each method's params, result, doc sentence and errors. Every transport
 * serves it, the client is typed by it, the docs are made from it. It does nothing itself: `Params` decodes,
 * `Handlers` answers.
 */
import * as Schema from "effect/Schema"
import { ContentBlock, Prompt } from "../domain/Prompt.ts"
import { sessionStatuses } from "../domain/Session.ts"
import { SessionName, sessionSpecFields, Signal } from "../domain/SessionSpec.ts"
import { restartStrategies } from "../domain/SupervisorStore.ts"
import { Template, TemplateName } from "../domain/Template.ts"
import { transcriptTypes } from "../domain/Transcript.ts"
import type { ErrorTag } from "./ErrorCodes.ts"
import { Health, Info, Initialized, Metrics, Screen, Stats, Tree } from "./RuntimeSchema.ts"
import { Entry, NamedTemplate, Session, Turn } from "./WireSchema.ts"

export interface MethodSpec<P extends Schema.Top, R extends Schema.Top> {
  readonly params: P
  /** What comes back. It describes: answers are made to fit, and neither decoded nor encoded. */
  readonly result: R
  /** The same in a sentence. */
  readonly gives: string
  readonly doc: string
  /** Besides InvalidParams, which every method can give. */
  readonly errors: ReadonlyArray<ErrorTag>
  /** The request does nothing but wait: it is given up when its client is gone. */
  readonly waits: boolean
}

const method = <P extends Schema.Top, R extends Schema.Top>(
  spec: Omit<MethodSpec<P, R>, "waits"> & { readonly waits?: boolean },
): MethodSpec<P, R> => ({ waits: false, ...spec })

const optional = Schema.optionalKey
const name = Schema.String.check(Schema.isMinLength(1, { message: "must not be empty" }))
const seq = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const milliseconds = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const positiveMs = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))
/** A hundred years: a moment further off may be none that a time can be made of. */
const lifetimeMs = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 36_500 * 86_400_000 }))
const page = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 1, maximum }))
const cells = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))
const types = Schema.Array(Schema.Literals(transcriptTypes))
const status = Schema.Literals(sessionStatuses)

/** A name, a task or an id, wherever a method has a field of this name. */
const session = Schema.Struct({ session: name })
const turnRequest = {
  session: name,
  prompt: Prompt,
  attachments: optional(Schema.Array(ContentBlock)),
  timeoutMs: optional(positiveMs),
  idempotencyKey: optional(name),
}

const nothing = Schema.Record(Schema.String, Schema.Never)
const { Array: List, Int, NullOr, Struct } = Schema

export const TranscriptPage = Struct({
  entries: List(Entry),
  nextAfter: Int,
  trimmed: Int.annotate({
    description:
      "the greatest seq that the session's limits (with all: retention) have dropped; 0 while the transcript is whole",
  }),
}).annotate({ identifier: "TranscriptPage" })
export type WirePage = typeof TranscriptPage.Type

export const TurnsPage = Struct({
  turns: List(Turn).annotate({ description: "newest first" }),
  nextBefore: NullOr(Int).annotate({ description: "pass as before to go on; null at the end" }),
}).annotate({ identifier: "TurnsPage" })
export type WireHistory = typeof TurnsPage.Type

export const SearchHit = Struct({
  turn: Turn,
  snippet: Schema.String.annotate({ description: "the text around the first word found, one line" }),
}).annotate({ identifier: "SearchHit" })
export type WireHit = typeof SearchHit.Type

export const SessionPage = Struct({ sessions: List(Session), nextCursor: NullOr(Schema.String) }).annotate({
  identifier: "SessionPage",
})
export type WireList = typeof SessionPage.Type

const unknownSession = ["SessionNotFound", "StoreUnavailable"] as const
const controls = [...unknownSession, "SessionNotRunning", "Draining"] as const
const starts = [
  ...controls,
  "SupervisorNotFound",
  "SessionAlreadyExists",
  "SpawnFailed",
  "NotReady",
  "RestartIntensityReached",
  "LimitReached",
] as const
const accepts = [...controls, "MailboxFull", "RestartIntensityReached", "LimitReached"] as const

export const contract = {
  initialize: method({
    params: Schema.Struct({
      protocolVersion: Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)),
      clientInfo: optional(Schema.Record(Schema.String, Schema.Json)),
      token: optional(Schema.String),
    }),
    result: Initialized,
    gives: "{protocolVersion, serverInfo, capabilities}",
    doc: "Says who speaks and what this runtime can do; calling it is optional.",
    errors: [],
  }),
  "runtime/info": method({
    params: Schema.Struct({}),
    result: Info,
    gives:
      "versions, data directory, socket, the containment that `auto` gives and every level with the reason why it is not to be had",
    doc: "What runs here, and which levels of containment hold.",
    errors: [],
  }),
  "runtime/stats": method({
    params: Schema.Struct({}),
    result: Stats,
    gives:
      "sessions by status and by template, expiredPending, turns by status, durations, restarts, crashes, gaveUp, spawns, uptimeMs, memory, store: {durable, sizeBytes}",
    doc: "What is there (sessions, those whose time is over and that are still being removed, the size of the store), what happened since the runtime started (turns, how long the completed ones took in ms, restarts, spawns), and its memory.",
    errors: ["StoreUnavailable"],
  }),
  "runtime/health": method({
    params: Schema.Struct({}),
    result: Health,
    gives: "{status, live, ready, problems}",
    doc: "Whether all is well: ok, starting, degraded or draining, with a line for each problem; ready: whether it takes work.",
    errors: [],
  }),
  "runtime/metrics": method({
    params: Schema.Struct({}),
    result: Metrics,
    gives: "{contentType, text}",
    doc: "Every metric as it stands, as text that Prometheus reads.",
    errors: [],
  }),
  "runtime/tree": method({
    params: Schema.Struct({}),
    result: Tree,
    gives: "supervisors and sessions, nested in children",
    doc: "The supervision tree.",
    errors: [],
  }),
  "runtime/shutdown": method({
    params: Schema.Struct({ drainMs: optional(milliseconds) }),
    result: Struct({ survivors: List(Int) }),
    gives: "{survivors}: pids that could not be killed, after the last descendant is gone",
    doc: "Refuses new work, waits up to drainMs (default 0) for running turns, stops every session and ends the runtime; queued turns wait for the next runtime, or, where nothing is kept, are worked off as far as drainMs goes. Asked again without drainMs it waits no longer.",
    errors: [],
  }),
  "supervisor/start": method({
    params: Struct({
      path: name,
      strategy: optional(Schema.Literals(restartStrategies)),
      maxRestarts: optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
      withinMs: optional(positiveMs),
    }),
    result: Tree,
    gives: "the supervisor as in runtime/tree, once it is on record",
    doc: "Starts a supervisor below another one, whose path it begins with: root/NAME, root/NAME/NAME. strategy: one_for_one (default), one_for_all, rest_for_one; maxRestarts and withinMs: a limit of its own, over which it gives up; neither: it has none. One that runs with the same settings is answered as it is; one that gave up begins anew, without settings with those that it had, and its sessions come back.",
    errors: [
      "SupervisorNotFound",
      "SupervisorAlreadyExists",
      "RestartIntensityReached",
      "Draining",
      "StoreUnavailable",
    ],
  }),
  "supervisor/stop": method({
    params: Struct({ path: name }),
    result: Struct({ survivors: List(Int) }),
    gives: "{survivors}: pids that could not be killed, after the last descendant is gone",
    doc: "Stops all sessions and supervisors below it, in reverse start order where its strategy has an order, and forgets the supervisors. The sessions stay on record as stopped; to start one of them again takes a supervisor at its path.",
    errors: ["SupervisorNotFound", "Draining", "StoreUnavailable"],
  }),
  "session/start": method({
    params: Schema.Struct({ ...sessionSpecFields, ifExists: optional(Schema.Literals(["fail", "return"])) }),
    result: Session,
    gives: "Session, once it is ready",
    doc: "Starts a session; when its first start fails, the error says why and no session is left behind.",
    errors: [
      "SessionAlreadyExists",
      "SpawnFailed",
      "NotReady",
      "RestartIntensityReached",
      "TemplateNotFound",
      "SupervisorNotFound",
      "Unsupported",
      "LimitReached",
      "Draining",
      "StoreUnavailable",
    ],
  }),
  "session/get": method({
    params: session,
    result: Session,
    gives: "Session",
    doc: "One session, by name, task or id.",
    errors: unknownSession,
  }),
  "session/list": method({
    params: Schema.Struct({
      status: optional(Schema.Union([status, Schema.Array(status)])),
      tags: optional(Schema.Record(Schema.String, Schema.String)),
      task: optional(name),
      supervisor: optional(name),
      limit: optional(page(1000)),
      cursor: optional(name),
    }),
    result: SessionPage,
    gives: "{sessions, nextCursor}",
    doc: "Sessions in order of creation, at most limit (default 100) of those that match; nextCursor is null at the end.",
    errors: ["StoreUnavailable"],
  }),
  "session/ask": method({
    params: Schema.Struct({ ...turnRequest, stream: optional(Schema.Boolean) }),
    result: Turn,
    gives: "Turn, once it ended",
    doc: "Asks and waits for the answer; with stream, the turn's entries arrive first as session/event.",
    errors: accepts,
    waits: true,
  }),
  "session/tell": method({
    params: Schema.Struct({ ...turnRequest, stream: optional(Schema.Boolean) }),
    result: Turn,
    gives: "Turn, queued, once it is durable",
    doc: "Asks without waiting for the answer; stream means nothing here.",
    errors: accepts,
  }),
  "turn/get": method({
    params: Schema.Struct({ turn: name }),
    result: Turn,
    gives: "Turn",
    doc: "One turn as it stands.",
    errors: ["TurnNotFound", "StoreUnavailable"],
  }),
  "turn/wait": method({
    params: Schema.Struct({ turn: name, timeoutMs: optional(milliseconds) }),
    result: Turn,
    gives: "Turn, once it ended, or as it stands after timeoutMs",
    doc: "Waits for the end of a turn.",
    errors: ["TurnNotFound", "Draining", "StoreUnavailable"],
    waits: true,
  }),
  "session/cancel": method({
    params: Schema.Struct({ session: name, turn: optional(name) }),
    result: Turn,
    gives: "the Turn that was cancelled",
    doc: "Cancels a turn, queued or running; without turn, the running one. The session lives on.",
    errors: [...controls, "TurnNotFound"],
  }),
  "session/answer": method({
    params: Schema.Struct({
      session: name,
      request: name,
      outcome: name,
      by: optional(name),
      result: optional(Schema.Json),
    }),
    result: Session,
    gives: "Session",
    doc: "Answers a permission request, one of the session's pendingRequests: allow, allow_always, deny, or an option's own id; the first answer wins. by: who answers, for the record; result: what the agent is told besides, where the request takes it.",
    errors: [...unknownSession, "RequestNotFound", "SessionNotRunning", "Unsupported"],
  }),
  "session/authenticate": method({
    params: Schema.Struct({ session: name, method: optional(name) }),
    result: Session,
    gives: "Session, once it is ready",
    doc: "Goes on with a start whose agent asked for it (status authenticating); method: one of those in its status entry, by default the first.",
    errors: [...starts, "Unsupported"],
  }),
  "session/write": method({
    params: Schema.Struct({
      session: name,
      data: Schema.String,
      encoding: optional(Schema.Literals(["utf8", "base64"])),
    }),
    result: Session,
    gives: "Session",
    doc: "Writes raw bytes to the stdin of the session's process.",
    errors: [...controls, "Unsupported"],
  }),
  "session/resize": method({
    params: Schema.Struct({ session: name, cols: cells, rows: cells }),
    result: Session,
    gives: "Session",
    doc: "Says how large the terminal of the session's process is. No protocol of this version has one: Unsupported.",
    errors: [...controls, "Unsupported"],
  }),
  "session/screen": method({
    params: session,
    result: Screen,
    gives: "{cols, rows, lines}",
    doc: "What the terminal of the session's process shows. No protocol of this version has one: Unsupported.",
    errors: [...unknownSession, "Unsupported"],
  }),
  "session/signal": method({
    params: Schema.Struct({ session: name, signal: Signal }),
    result: Session,
    gives: "Session",
    doc: "Sends a signal to the session's process group.",
    errors: controls,
  }),
  "session/suspend": method({
    params: session,
    result: Session,
    gives: "Session",
    doc: "Ends the process and keeps the session; the next turn wakes it.",
    errors: controls,
  }),
  "session/resume": method({
    params: session,
    result: Session,
    gives: "Session",
    doc: "Starts a suspended session's process again.",
    errors: starts,
  }),
  "session/restart": method({
    params: session,
    result: Session,
    gives: "Session",
    doc: "Replaces the process, also of a stopped or failed session; not charged to its restart intensity.",
    errors: starts,
  }),
  "session/stop": method({
    params: Schema.Struct({ session: name, mode: optional(Schema.Literals(["graceful", "kill"])) }),
    result: Session,
    gives: "Session, after its last descendant is gone",
    doc: "Terminates the process, by the session's shutdown or at once, and waits; the record stays.",
    errors: unknownSession,
  }),
  "session/remove": method({
    params: session,
    result: nothing,
    gives: "{}",
    doc: "Stops the session and forgets it: record, transcript, own directory.",
    errors: unknownSession,
  }),
  "session/transcript": method({
    params: Schema.Struct({
      session: name,
      after: optional(seq),
      limit: optional(page(10_000)),
      types: optional(types),
      turn: optional(name),
      all: optional(Schema.Boolean),
    }),
    result: TranscriptPage,
    gives: "{entries, nextAfter, trimmed}",
    doc: "Entries with seq > after (default 0), at most limit (default 1000), fewer where they are long; pass nextAfter as after to go on, until entries is empty. With all, also what is over the session's limits and still archived; trimmed is the greatest seq that is gone.",
    errors: unknownSession,
  }),
  "session/history": method({
    params: Schema.Struct({ session: name, limit: optional(page(1000)), before: optional(seq) }),
    result: TurnsPage,
    gives: "{turns, nextBefore}, newest first",
    doc: "What the session was asked: its turns, queued and running ones too, at most limit (default 100), fewer where they are long; pass nextBefore as before to go on, until it is null.",
    errors: unknownSession,
  }),
  "session/search": method({
    params: Schema.Struct({ query: name, session: optional(name), limit: optional(page(1000)) }),
    result: Struct({ hits: List(SearchHit) }),
    gives: "{hits}: each {turn, snippet}, newest first",
    doc: "Turns whose prompt or answer holds every word of the query, in any order, without regard to case and accents, at most limit (default 50); a word that ends in * matches what begins so. Without session, of every session.",
    errors: unknownSession,
  }),
  "session/extend": method({
    params: Schema.Struct({ session: name, expiresInMs: Schema.NullOr(lifetimeMs) }),
    result: Session,
    gives: "Session",
    doc: "From now on it has so long until it is stopped and removed; null: it never expires.",
    errors: unknownSession,
  }),
  "session/fork": method({
    params: Schema.Struct({ session: name, name: optional(SessionName) }),
    result: Session,
    gives: "Session, once it is ready",
    doc: "A new session that goes on from where this one's conversation stands, where its protocol can; its name is generated when left out.",
    errors: [
      ...unknownSession,
      "Unsupported",
      "SessionAlreadyExists",
      "SpawnFailed",
      "NotReady",
      "RestartIntensityReached",
      "LimitReached",
      "Draining",
    ],
  }),
  "session/subscribe": method({
    params: Schema.Struct({ session: optional(name), after: optional(seq), types: optional(types) }),
    result: Struct({ subscription: Schema.String }),
    gives:
      "{subscription}; then session/event {subscription, entry}; {subscription, ended: true} once the session is removed",
    doc: "First what is stored after `after`, then live, no gap and no duplicate; without `after` live ones alone, and before them the permission requests that still wait; without session, the same of every session.",
    errors: [...unknownSession, "LimitReached", "Draining"],
  }),
  "template/list": method({
    params: Schema.Struct({}),
    result: Struct({ templates: List(NamedTemplate) }),
    gives:
      "{templates}: each {name, source, template}, by name; source: built-in, file or client; values of env are hidden",
    doc: "Every template from which a session can be started.",
    errors: ["StoreUnavailable"],
  }),
  "template/get": method({
    params: Schema.Struct({ name }),
    result: NamedTemplate,
    gives: "{name, source, template}",
    doc: "One template as it was written; what it extends is not worked in.",
    errors: ["TemplateNotFound", "StoreUnavailable"],
  }),
  "template/put": method({
    params: Schema.Struct({ name: TemplateName, template: Template }),
    result: NamedTemplate,
    gives: "{name, source, template}, once it is kept",
    doc: "Keeps a template, in place of the one that had its name. One of the configuration file is changed in the file alone.",
    errors: ["Forbidden", "LimitReached", "StoreUnavailable"],
  }),
  "template/remove": method({
    params: Schema.Struct({ name }),
    result: nothing,
    gives: "{}",
    doc: "Forgets a template that a client put; a built-in one that it hid is back. Sessions started from it stay as they are.",
    errors: ["TemplateNotFound", "Forbidden", "StoreUnavailable"],
  }),
  "session/unsubscribe": method({
    params: Schema.Struct({ subscription: name }),
    result: nothing,
    gives: "{}",
    doc: "Ends a subscription of this connection.",
    errors: ["SubscriptionNotFound"],
  }),
} as const

/** Pinned by the protocol, not offered by this build: answered as Unsupported. */
export const notOffered = ["pool/start", "pool/list", "pool/stop"] as const

export type Contract = typeof contract
export type Method = keyof Contract
export type Params<M extends Method> = Contract[M]["params"]["Type"]
export type Result<M extends Method> = Contract[M]["result"]["Type"]

export const methods = Object.keys(contract) as ReadonlyArray<Method>
