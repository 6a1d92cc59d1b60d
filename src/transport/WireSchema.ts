/**
 * What clients see, as schemas: sessions, turns, entries and what they are made of. The wire types are theirs, and so are the
 * schemas of OpenAPI and the docs. They describe and are checked by tests; no answer is decoded or encoded by them, since
 * answers are made for every entry. `Wire` makes the values; `Contract` says which method gives which.
 */
import * as Schema from "effect/Schema"
import { Prompt } from "../domain/Prompt.ts"
import { ProtocolSpec } from "../domain/ProtocolSpec.ts"
import { containments, sessionStatuses } from "../domain/Session.ts"
import { RetentionSpec, Signal } from "../domain/SessionSpec.ts"
import { Template } from "../domain/Template.ts"
import { terminalTurnStatuses } from "../domain/Turn.ts"

const { Array: List, Finite, Int, Literal, Literals, NullOr, optionalKey, Record, String: Text, Struct } = Schema

/** Named in OpenAPI under `components/schemas`. */
const named = <S extends Schema.Top>(identifier: string, description: string, schema: S) =>
  schema.annotate({ identifier, description })

/** A field with its meaning; not for what is named itself. */
const says = <S extends Schema.Top>(schema: S, description: string) => schema.annotate({ description })

export const Time = named(
  "Time",
  "RFC 3339, UTC, with milliseconds",
  Text.check(Schema.isPattern(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/u)),
)
export type Time = typeof Time.Type

const count = Int.check(Schema.isGreaterThanOrEqualTo(0))
const milliseconds = Finite.check(Schema.isGreaterThanOrEqualTo(0))
const pid = Int.check(Schema.isGreaterThanOrEqualTo(1))
const sessionStatus = Literals(sessionStatuses)
const anything = Schema.Unknown

export const Exit = named(
  "Exit",
  "why a process ended",
  Struct({
    kind: Literals(["exited", "signaled", "spawnFailed", "killedByRuntime"]),
    code: optionalKey(Int),
    signal: optionalKey(Text),
    detail: optionalKey(Text),
    at: Time,
  }),
)
export type WireExit = typeof Exit.Type

const TurnError = Schema.StructWithRest(Struct({ tag: Text, message: Text }), [Record(Text, anything)]).annotate({
  identifier: "TurnError",
  description: "the tag of an error, or one of the protocol's own, with what it is about",
})

const Usage = named("Usage", "what was used up, by unit: tokens, costUsd, …", Record(Text, Finite))

export const Turn = named(
  "Turn",
  "a prompt on its way to one outcome",
  Struct({
    id: Text,
    session: says(Text, "the id of its session"),
    status: Literals(["queued", "running", ...terminalTurnStatuses]),
    prompt: Prompt,
    text: says(Text, "the answer so far; what counts once it ended"),
    stopReason: says(NullOr(Text), "in the agent's words"),
    usage: says(NullOr(Usage), "what the agent told, by unit"),
    error: says(NullOr(TurnError), "why it did not complete"),
    idempotencyKey: NullOr(Text),
    timeoutMs: says(optionalKey(milliseconds), "as it was asked with"),
    queuedAt: Time,
    startedAt: NullOr(Time),
    endedAt: NullOr(Time),
    durationMs: says(NullOr(milliseconds), "from start to end; null until it ended, or where it never started"),
    firstSeq: says(count, "of its turn/queued entry"),
    lastSeq: says(count, "of its newest entry"),
  }),
)
export type WireTurn = typeof Turn.Type

/** A SessionSpec with every default filled in; the values of `env` are hidden. */
export const Spec = named(
  "Spec",
  "a SessionSpec with every default filled in; values of env are hidden",
  Struct({
    name: Text,
    template: NullOr(Text),
    supervisor: Text,
    command: Text,
    args: List(Text),
    cwd: NullOr(Text),
    env: Record(Text, NullOr(Text)),
    inheritEnv: Schema.Union([Literal("all"), List(Text)]),
    protocol: ProtocolSpec,
    restart: Literals(["permanent", "transient", "temporary"]),
    backoff: Struct({ initialMs: count, factor: Finite, maxMs: count, jitter: Finite, resetAfterMs: count }),
    intensity: Struct({ maxRestarts: count, withinMs: count }),
    shutdown: Schema.Union([Literal("brutal_kill"), Struct({ signal: Signal, graceMs: count, stdinEofMs: count })]),
    readyTimeoutMs: count,
    turnTimeoutMs: count,
    stallTimeoutMs: NullOr(count),
    onStall: Literals(["notify", "cancel", "restart"]),
    idleTimeoutMs: NullOr(count),
    expiresInMs: NullOr(count),
    mailbox: Struct({ capacity: count, overflow: Literals(["fail", "suspend", "sliding", "dropping"]) }),
    retryTurns: count,
    permissions: Struct({
      default: Literals(["ask", "allow", "deny"]),
      timeoutMs: count,
      onTimeout: Literals(["allow", "deny"]),
      rules: List(
        Struct({
          tool: Text,
          input: optionalKey(Record(Text, Text)),
          decision: Literals(["ask", "allow", "deny"]),
        }),
      ),
    }),
    limits: Struct({
      lineBytes: count,
      transcriptEntries: count,
      transcriptBytes: optionalKey(count),
      memoryBytes: optionalKey(count),
      processes: optionalKey(count),
      costUsd: optionalKey(Finite),
      tokens: optionalKey(count),
      turns: optionalKey(count),
      onReached: Literals(["suspend", "stop"]),
    }),
    attachments: Struct({ roots: NullOr(List(Text)), maxBytes: count }),
    retention: NullOr(RetentionSpec),
    containment: Literals(["auto", "group", "guard", "namespace", "cgroup"]),
    task: NullOr(Text),
    tags: Record(Text, Text),
    metadata: Schema.Json,
  }),
)
export type WireSpec = typeof Spec.Type

const PermissionOption = Struct({ id: Text, name: Text, kind: Text })

export const PermissionRequest = named(
  "PermissionRequest",
  "what an agent asks leave for, until it is answered",
  Struct({
    request: Text,
    turn: NullOr(Text),
    tool: Text,
    input: anything,
    options: List(PermissionOption),
    requestedAt: Time,
    expiresAt: Time,
    seq: count,
  }),
)
export type WireRequest = typeof PermissionRequest.Type

const Death = Struct({ incarnation: count, exit: Exit, stderrTail: Text })
export type WireDeath = typeof Death.Type

export const Session = named(
  "Session",
  "a supervised process with its conversation",
  Struct({
    id: Text,
    name: Text,
    supervisor: says(Text, "the path of the supervisor that owns it"),
    status: sessionStatus,
    spec: Spec,
    pid: says(NullOr(pid), "the command's own process; null when there is none"),
    incarnation: says(count, "counts its processes: 1 is the first"),
    restarts: says(count, "that supervision made; those that a client asked for are not counted"),
    turns: says(
      Struct({ queued: count, running: count, completed: count, failed: count }),
      "failed: ended in any other way than completed",
    ),
    containment: says(NullOr(Literals(containments)), "in force; null before its first process"),
    agentSessionId: says(NullOr(Text), "the agent's own id of the conversation"),
    forkedFrom: says(NullOr(Text), "the agent's conversation that it was forked from, until its own has an id"),
    suspendedBy: says(
      NullOr(Literals(["client", "idle", "room", "runtime", "budget"])),
      "who ended the process of a suspended session; room: to make room for another, runtime: when it ended itself, budget: it was used up",
    ),
    pendingRequests: says(List(PermissionRequest), "permission requests that wait for an answer"),
    createdAt: Time,
    lastActiveAt: Time,
    expiresAt: says(NullOr(Time), "then it is stopped and removed"),
    exit: says(NullOr(Exit), "the last one"),
    deaths: says(
      List(Death),
      "past ends of its processes, newest last; stderrTail: what was written last, at most 2 KiB",
    ),
    survivors: says(
      List(pid),
      "pids that could not be killed when a process tree of it was ended; normally none; over them nothing is started but by session/restart",
    ),
    usage: NullOr(Usage),
    seq: says(count, "of its newest entry; 0 before the first"),
  }),
)
export type WireSession = typeof Session.Type

const entry = <const T extends string, F extends Schema.Struct.Fields>(type: T, fields: F) =>
  Struct({
    session: Text,
    seq: count,
    at: Time,
    incarnation: count,
    turn: optionalKey(Text),
    type: Literal(type),
    ...fields,
  })

export const Entry = named(
  "Entry",
  "one entry of a transcript; seq counts 1, 2, 3 … in its session",
  Schema.Union([
    entry("status", { status: sessionStatus, detail: optionalKey(Text) }),
    entry("process/spawned", { pid, containment: Text }),
    entry("process/exited", { exit: Exit, survivors: optionalKey(List(pid)) }),
    entry("restart/scheduled", { delayMs: milliseconds, attempt: count }),
    entry("turn/queued", { prompt: Prompt }),
    entry("turn/started", { attempt: count }),
    entry("turn/delta", { text: Text }),
    entry("turn/thought", { text: Text }),
    entry("turn/tool", {
      toolId: Text,
      name: Text,
      input: optionalKey(anything),
      output: optionalKey(anything),
      status: Text,
    }),
    entry("turn/stalled", { silentMs: milliseconds, reason: Literals(["silent", "working"]), action: Text }),
    entry("turn/ended", {
      status: Literals(terminalTurnStatuses),
      text: Text,
      stopReason: NullOr(Text),
      error: optionalKey(TurnError),
      usage: optionalKey(Usage),
      durationMs: milliseconds,
    }),
    entry("permission/requested", { request: Text, tool: Text, input: anything, options: List(PermissionOption) }),
    entry("permission/resolved", { request: Text, outcome: Text, by: Text }),
    entry("output", { stream: Literals(["stdout", "stderr"]), data: Text }),
    entry("native", { message: anything }),
    entry("note", { text: Text }),
  ]),
)
export type WireEntry = typeof Entry.Type

export const MissedRange = named(
  "MissedRange",
  "entries that the session's limits had dropped before they could be read: those with after < seq ≤ through",
  Struct({ session: Text, after: count, through: count }),
)
export type MissedRange = typeof MissedRange.Type

export const NamedTemplate = named(
  "Template",
  "a template as it was written; values of env are hidden",
  Struct({ name: Text, source: Literals(["built-in", "file", "client"]), template: Template }),
)
export type WireTemplate = typeof NamedTemplate.Type
