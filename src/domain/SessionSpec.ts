/**
 * What a client says of a session, and the same with every default filled in. The defaults stand in
 * `specDefaults` and nowhere else; docs and help are made from here.
 */
import { isDeepStrictEqual } from "node:util"
import * as Schema from "effect/Schema"
import { sessionNamePattern } from "./Ids.ts"
import { protocolNames, ProtocolSpec } from "./ProtocolSpec.ts"
import { count, cString, fraction, milliseconds, nonEmpty, positive } from "./SpecValues.ts"

export const SessionName = Schema.String.check(
  Schema.isPattern(sessionNamePattern, {
    message:
      "must be 1 to 128 letters, digits, dots, underscores or hyphens, and begin with a letter or digit (no slash, no space)",
  }),
)

export const Signal = Schema.Literals([
  "SIGTERM",
  "SIGINT",
  "SIGHUP",
  "SIGQUIT",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGSTOP",
  "SIGCONT",
  "SIGPIPE",
  "SIGALRM",
  "SIGWINCH",
  "SIGABRT",
])
export type Signal = typeof Signal.Type

const Backoff = Schema.Struct({
  initialMs: Schema.optionalKey(milliseconds),
  factor: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(1))),
  maxMs: Schema.optionalKey(milliseconds),
  jitter: Schema.optionalKey(fraction),
  resetAfterMs: Schema.optionalKey(milliseconds),
})
const Intensity = Schema.Struct({
  maxRestarts: Schema.optionalKey(count),
  withinMs: Schema.optionalKey(positive),
})
const Shutdown = Schema.Union([
  Schema.Literal("brutal_kill"),
  Schema.Struct({
    signal: Schema.optionalKey(Signal),
    graceMs: Schema.optionalKey(milliseconds),
    stdinEofMs: Schema.optionalKey(milliseconds),
  }),
])
const Mailbox = Schema.Struct({
  capacity: Schema.optionalKey(positive),
  overflow: Schema.optionalKey(Schema.Literals(["fail", "suspend", "sliding", "dropping"])),
})
const Permissions = Schema.Struct({
  default: Schema.optionalKey(Schema.Literals(["ask", "allow", "deny"])),
  timeoutMs: Schema.optionalKey(milliseconds),
  onTimeout: Schema.optionalKey(Schema.Literals(["allow", "deny"])),
  rules: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        tool: nonEmpty,
        input: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
        decision: Schema.Literals(["ask", "allow", "deny"]),
      }),
    ),
  ),
})
export const RetentionSpec = Schema.Struct({
  maxAgeMs: Schema.optionalKey(positive),
  maxBytes: Schema.optionalKey(positive),
})
export type RetentionSpec = typeof RetentionSpec.Type
const Limits = Schema.Struct({
  lineBytes: Schema.optionalKey(positive),
  transcriptEntries: Schema.optionalKey(positive),
  transcriptBytes: Schema.optionalKey(positive),
  memoryBytes: Schema.optionalKey(positive),
  processes: Schema.optionalKey(positive),
  costUsd: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThan(0))),
  tokens: Schema.optionalKey(positive),
  turns: Schema.optionalKey(positive),
  onReached: Schema.optionalKey(Schema.Literals(["suspend", "stop"])),
})
const Attachments = Schema.Struct({
  roots: Schema.optionalKey(
    Schema.Array(cString.check(Schema.isPattern(/^\//u, { message: "must be an absolute path" }))),
  ),
  maxBytes: Schema.optionalKey(positive),
})

const say = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema.annotate({ description }))

/** The fields of a SessionSpec as a client writes them. */
export const sessionSpecFields = {
  name: say(SessionName, "unique among live and suspended sessions; generated when left out"),
  template: say(nonEmpty, "start from a named template; the other fields override it"),
  supervisor: say(nonEmpty, "path of the supervisor that owns it"),
  command: say(
    Schema.String.check(
      Schema.isMinLength(1, { message: "must not be empty: give the program to run" }),
      Schema.isPattern(/^[^\0]*$/u, { message: "must not contain a NUL byte" }),
    ),
    "the program; looked up in PATH; never a shell line",
  ),
  args: say(Schema.Array(cString), "its arguments, passed as they are"),
  cwd: say(
    Schema.String.check(Schema.isMinLength(1), Schema.isPattern(/^[^\0]*$/u)),
    "working directory; by default one of the session's own under the data directory",
  ),
  env: say(
    Schema.Record(
      Schema.String.check(
        Schema.isPattern(/^[^=\0]+$/u, { message: "a variable's name must not be empty and holds no '='" }),
      ),
      Schema.NullOr(cString),
    ),
    "added variables; null removes one",
  ),
  inheritEnv: say(
    Schema.Union([Schema.Literal("all"), Schema.Array(nonEmpty)]),
    'names passed on from the runtime\'s environment, or "all"',
  ),
  protocol: say(
    Schema.Union([Schema.Literals(protocolNames), ProtocolSpec]),
    "how to talk to it: a name, or {type, …options}",
  ),
  restart: say(Schema.Literals(["permanent", "transient", "temporary"]), "restart type, as in OTP"),
  backoff: say(
    Backoff,
    "the restart schedule: exponential, with jitter as a fraction, reset after that much ready time",
  ),
  intensity: say(Intensity, "more restarts than maxRestarts within withinMs: the session is failed"),
  shutdown: say(Shutdown, '{signal, graceMs, stdinEofMs}: ask, wait, SIGKILL, wait; or "brutal_kill"'),
  readyTimeoutMs: say(positive, "start and handshake; at expiry the start fails with NotReady"),
  turnTimeoutMs: say(
    positive,
    "at expiry the turn ends as timed_out and the incarnation is replaced if it does not settle",
  ),
  stallTimeoutMs: say(Schema.NullOr(positive), "no output for that long inside a turn: event turn/stalled and onStall"),
  onStall: say(Schema.Literals(["notify", "cancel", "restart"]), "what a stall does besides the event"),
  idleTimeoutMs: say(Schema.NullOr(positive), "no turn for that long: the session is suspended; null: never"),
  expiresInMs: say(Schema.NullOr(positive), "after that the session is stopped and removed"),
  mailbox: say(Mailbox, "how many turns may wait, and what happens to one more: fail, suspend, sliding, dropping"),
  retryTurns: say(count, "how often a turn cut short by a crash is asked again"),
  permissions: say(Permissions, "how permission requests of an agent are answered"),
  limits: say(
    Limits,
    "lineBytes, transcriptEntries, transcriptBytes; memoryBytes, processes: of the whole process tree, which is ended when it takes more; costUsd, tokens, turns: once used up, turns are refused and the session is suspended or stopped (onReached)",
  ),
  attachments: say(
    Attachments,
    "{roots, maxBytes}: files with a prompt are read from below these directories, by default the session's own working directory",
  ),
  retention: say(
    Schema.NullOr(RetentionSpec),
    "{maxAgeMs, maxBytes}: older or more of its turns and entries are forgotten, oldest first; its newest turn stays",
  ),
  containment: say(
    Schema.Literals(["auto", "group", "guard", "namespace", "cgroup"]),
    "the level asked for, never silently less: docs/containment.md",
  ),
  task: say(Schema.NullOr(nonEmpty), "the caller's own id; at most one live session each"),
  tags: say(Schema.Record(Schema.String, Schema.String), "string to string, to find sessions by"),
  metadata: say(Schema.Json, "any JSON, kept for the caller"),
}

export const SessionSpecInput = Schema.Struct(sessionSpecFields)
export type SessionSpecInput = typeof SessionSpecInput.Type

export type RestartType = "permanent" | "transient" | "temporary"
export type Overflow = "fail" | "suspend" | "sliding" | "dropping"
export interface BackoffSpec {
  readonly initialMs: number
  readonly factor: number
  readonly maxMs: number
  readonly jitter: number
  readonly resetAfterMs: number
}
export interface IntensitySpec {
  readonly maxRestarts: number
  readonly withinMs: number
}
export type ShutdownSpec =
  | "brutal_kill"
  | { readonly signal: Signal; readonly graceMs: number; readonly stdinEofMs: number }
export interface MailboxSpec {
  readonly capacity: number
  readonly overflow: Overflow
}
export interface PermissionsSpec {
  readonly default: "ask" | "allow" | "deny"
  readonly timeoutMs: number
  readonly onTimeout: "allow" | "deny"
  /** The first that fits decides. `*` in a pattern stands for any text. */
  readonly rules: ReadonlyArray<{
    readonly tool: string
    /** Patterns by paths into the input, such as `{"command": "git *"}`; all must fit. */
    readonly input?: Readonly<Record<string, string>>
    readonly decision: "ask" | "allow" | "deny"
  }>
}
export interface LimitsSpec {
  readonly lineBytes: number
  readonly transcriptEntries: number
  readonly transcriptBytes?: number
  readonly memoryBytes?: number
  readonly processes?: number
  /** Budgets over the session's whole life. */
  readonly costUsd?: number
  readonly tokens?: number
  readonly turns?: number
  /** What becomes of the session then. */
  readonly onReached: "suspend" | "stop"
}
export interface AttachmentsSpec {
  /** Absolute; null: the session's working directory. */
  readonly roots: ReadonlyArray<string> | null
  /** Of all files of one prompt. */
  readonly maxBytes: number
}

/** A SessionSpec with every default filled in. */
export interface SessionSpec {
  readonly name: string
  /** The template that it was started from; its fields are worked in already. */
  readonly template: string | null
  readonly supervisor: string
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** null: a directory of the session's own under the data directory. */
  readonly cwd: string | null
  readonly env: Readonly<Record<string, string | null>>
  readonly inheritEnv: "all" | ReadonlyArray<string>
  readonly protocol: ProtocolSpec
  readonly restart: RestartType
  readonly backoff: BackoffSpec
  readonly intensity: IntensitySpec
  readonly shutdown: ShutdownSpec
  readonly readyTimeoutMs: number
  readonly turnTimeoutMs: number
  readonly stallTimeoutMs: number | null
  readonly onStall: "notify" | "cancel" | "restart"
  readonly idleTimeoutMs: number | null
  readonly expiresInMs: number | null
  readonly mailbox: MailboxSpec
  readonly retryTurns: number
  readonly permissions: PermissionsSpec
  readonly limits: LimitsSpec
  readonly attachments: AttachmentsSpec
  /** Besides the runtime's own. */
  readonly retention: RetentionSpec | null
  readonly containment: "auto" | "group" | "guard" | "namespace" | "cgroup"
  readonly task: string | null
  readonly tags: Readonly<Record<string, string>>
  readonly metadata: Schema.Json
}

export const specDefaults = {
  template: null,
  supervisor: "root",
  args: [],
  cwd: null,
  env: {},
  inheritEnv: ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR", "USER", "SHELL"],
  protocol: { type: "lines" },
  restart: "transient",
  backoff: { initialMs: 100, factor: 2, maxMs: 30_000, jitter: 0.2, resetAfterMs: 60_000 },
  intensity: { maxRestarts: 5, withinMs: 60_000 },
  shutdown: { signal: "SIGTERM", graceMs: 5_000, stdinEofMs: 0 },
  readyTimeoutMs: 30_000,
  turnTimeoutMs: 600_000,
  stallTimeoutMs: null,
  onStall: "notify",
  idleTimeoutMs: 1_800_000,
  expiresInMs: null,
  mailbox: { capacity: 100, overflow: "fail" },
  retryTurns: 0,
  permissions: { default: "ask", timeoutMs: 300_000, onTimeout: "deny", rules: [] },
  limits: { lineBytes: 16 * 1024 * 1024, transcriptEntries: 10_000, onReached: "suspend" },
  attachments: { roots: null, maxBytes: 10 * 1024 * 1024 },
  retention: null,
  containment: "auto",
  task: null,
  tags: {},
  metadata: null,
} as const satisfies Omit<SessionSpec, "name" | "command">

/** A part of the defaults itself when nothing overrides it: thousands of sessions then share one object. */
const over = <A extends object>(defaults: A, given: { readonly [K in keyof A]?: A[K] | undefined } | undefined): A =>
  given === undefined ? defaults : { ...defaults, ...given }

/** A protocol as a client says it, written out. */
export const protocolSpec = (protocol: SessionSpecInput["protocol"]): ProtocolSpec =>
  protocol === undefined
    ? specDefaults.protocol
    : typeof protocol === "string"
      ? ({ type: protocol } as ProtocolSpec)
      : protocol

/** Fills in the defaults. `name` and `command` must have been settled before. */
export const resolveSpec = (
  input: SessionSpecInput & { readonly name: string; readonly command: string },
): SessionSpec => {
  const { protocol, backoff, intensity, shutdown, mailbox, permissions, limits, attachments, ...plain } = input
  return {
    ...specDefaults,
    ...plain,
    protocol: protocolSpec(protocol),
    backoff: over<BackoffSpec>(specDefaults.backoff, backoff),
    intensity: over<IntensitySpec>(specDefaults.intensity, intensity),
    shutdown:
      shutdown === "brutal_kill" ? shutdown : over<Exclude<ShutdownSpec, string>>(specDefaults.shutdown, shutdown),
    mailbox: over<MailboxSpec>(specDefaults.mailbox, mailbox),
    permissions: over<PermissionsSpec>(specDefaults.permissions, permissions),
    limits: { ...specDefaults.limits, ...limits },
    attachments: over<AttachmentsSpec>(specDefaults.attachments, attachments),
  }
}

/** The agent's conversation that a session is told to begin with; null: a new one. */
export const resumedConversation = ({ protocol }: SessionSpec): string | null =>
  "resume" in protocol ? (protocol.resume ?? null) : null

const asKept = (spec: SessionSpec): unknown => JSON.parse(JSON.stringify(spec))

/** Whether two specs say the same, as far as a store keeps them: JSON knows no undefined. */
export const sameSpec = (a: SessionSpec, b: SessionSpec): boolean => isDeepStrictEqual(asKept(a), asKept(b))
