/**
 * The names under which the runtime can be watched, declared once: metrics, the spans of a turn, and what log
 * lines are annotated with. docs/operations.md is made from it. It measures nothing: `supervisor/Meters` does.
 */

export interface MetricSpec {
  /** `summary`: quantiles over the last minute, `_sum` and `_count` since the start. */
  readonly type: "counter" | "gauge" | "histogram" | "summary"
  /** One sentence; the unit is in the name. */
  readonly help: string
  /** Not `unit` or `time_unit`: Effect's formatter keeps those to itself. */
  readonly labels: ReadonlyArray<string>
  /** Upper bounds of a histogram, in the unit of its name. */
  readonly bounds?: ReadonlyArray<number>
}

/** Of what agents tell of their usage, what is counted by name here: a program may call its own whatever it likes. */
export const usageKinds = [
  "inputTokens",
  "outputTokens",
  "cacheReadTokens",
  "cacheWriteTokens",
  "reasoningTokens",
  "costUsd",
] as const

/** From what a small program answers in to what an agent needs for a long task (s). */
const turnBounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600] as const
const waitBounds = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1800] as const
const spawnBounds = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5] as const
const commitBounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5] as const

export const metrics = {
  creche_build_info: {
    type: "gauge",
    help: "Always 1; the labels say what runs.",
    labels: ["version", "node", "platform", "containment"],
  },
  creche_ready: { type: "gauge", help: "Whether the runtime takes work (1), as GET /readyz says.", labels: [] },
  creche_draining: { type: "gauge", help: "Whether the runtime takes no more work, because it ends (1).", labels: [] },

  creche_sessions: { type: "gauge", help: "Sessions on record, by status.", labels: ["status"] },
  creche_sessions_created_total: {
    type: "counter",
    help: "Sessions that were ever made in this data directory; goes on through restarts of the runtime.",
    labels: [],
  },
  creche_sessions_expired: {
    type: "gauge",
    help: "Sessions whose time is over and that are still being removed.",
    labels: [],
  },
  creche_starts_waiting: {
    type: "gauge",
    help: "Starts that wait for a place among the live sessions.",
    labels: [],
  },

  creche_turns_total: { type: "counter", help: "Turns that ended, by outcome.", labels: ["outcome"] },
  creche_turns_running: { type: "gauge", help: "Turns that run now.", labels: [] },
  creche_turns_queued: { type: "gauge", help: "Turns that wait in mailboxes.", labels: [] },
  creche_mailbox_depth_max: { type: "gauge", help: "Turns that wait in the fullest mailbox.", labels: [] },
  creche_turn_queue_seconds: {
    type: "histogram",
    help: "How long turns waited from acceptance to start; turns that never started are not in it.",
    labels: [],
    bounds: waitBounds,
  },
  creche_turn_duration_seconds: {
    type: "histogram",
    help: "How long turns ran from start to end, by outcome.",
    labels: ["outcome"],
    bounds: turnBounds,
  },
  creche_usage_total: {
    type: "counter",
    help: "What ended turns used up, as their agents tell. kind: inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens, reasoningTokens, costUsd.",
    labels: ["kind"],
  },

  creche_spawns_total: { type: "counter", help: "Processes that were to be started.", labels: [] },
  creche_spawn_failures_total: {
    type: "counter",
    help: "Processes that could not be started, by the operating system's error.",
    labels: ["errno"],
  },
  creche_spawn_seconds: {
    type: "histogram",
    help: "How long it took to start a process, without its own time to become ready.",
    labels: [],
    bounds: spawnBounds,
  },
  creche_exits_total: {
    type: "counter",
    help: "Ends of sessions' processes. reason: exited, signaled, killedByRuntime; code: the exit code or the signal.",
    labels: ["reason", "code"],
  },
  creche_crashes_total: {
    type: "counter",
    help: "Ends and failed starts that nobody asked for and that were not normal.",
    labels: [],
  },
  creche_restarts_total: { type: "counter", help: "Restarts that supervision made.", labels: [] },
  creche_gave_up_total: { type: "counter", help: "Sessions that failed at the limit on restarts.", labels: [] },

  creche_subscriptions: { type: "gauge", help: "Subscriptions that are open.", labels: [] },
  creche_connections: {
    type: "gauge",
    help: "Clients that are connected. transport: socket, websocket, sse.",
    labels: ["transport"],
  },
  creche_http_requests_pending: { type: "gauge", help: "HTTP requests under way.", labels: [] },
  creche_http_refusals_total: {
    type: "counter",
    help: "HTTP requests that were refused. reason: unauthorized (no token, or none that counts), origin (Host or Origin).",
    labels: ["reason"],
  },

  creche_store_up: { type: "gauge", help: "Whether the store answers (1).", labels: [] },
  creche_store_commit_seconds: {
    type: "histogram",
    help: "How long groups of commits took to become durable; without a durable store it stays empty.",
    labels: [],
    bounds: commitBounds,
  },
  creche_store_commits_total: { type: "counter", help: "Commits that became durable.", labels: [] },
  creche_store_size_bytes: { type: "gauge", help: "What sessions, turns and transcripts take.", labels: [] },

  creche_session_resident_memory_bytes: {
    type: "gauge",
    help: "Resident memory of a session's whole process tree (Linux); what is shared counts in each process. session: the name, or _other for those over the limit on names.",
    labels: ["session", "template"],
  },
  creche_session_processes: {
    type: "gauge",
    help: "Processes of a session's whole tree (Linux); labels as above.",
    labels: ["session", "template"],
  },

  creche_event_loop_delay_seconds: {
    type: "summary",
    help: "How late the runtime's event loop was.",
    labels: [],
  },
  creche_heap_used_bytes: { type: "gauge", help: "JavaScript heap of the runtime in use.", labels: [] },
  process_resident_memory_bytes: { type: "gauge", help: "Resident memory of the runtime's own process.", labels: [] },
  process_cpu_seconds_total: { type: "counter", help: "CPU time of the runtime's own process.", labels: [] },
  process_open_fds: { type: "gauge", help: "Descriptors that the runtime has open (Linux).", labels: [] },
  process_start_time_seconds: { type: "gauge", help: "When the runtime's process started, Unix time.", labels: [] },
  creche_otlp_exports_total: {
    type: "counter",
    help: "Requests to the OTLP collector. signal: traces, metrics; outcome: sent, failed.",
    labels: ["signal", "outcome"],
  },
  creche_otlp_dropped_turns_total: {
    type: "counter",
    help: "Turns of which no trace was sent, because the collector was down or slow.",
    labels: [],
  },
} as const satisfies Readonly<Record<string, MetricSpec>>

export type MetricName = keyof typeof metrics
export type MetricsOf<T extends MetricSpec["type"]> = {
  [N in MetricName]: (typeof metrics)[N]["type"] extends T ? N : never
}[MetricName]
export type LabelsOf<N extends MetricName> = Readonly<Record<(typeof metrics)[N]["labels"][number], string>>

/** One value of one metric, as it was when it was asked for. */
export type MetricSample = {
  readonly name: MetricName
  readonly labels: Readonly<Record<string, string>>
} & MetricValue

export type MetricValue =
  | { readonly type: "counter" | "gauge"; readonly value: number }
  | {
      readonly type: "histogram"
      /** Bound and how many were not above it; without the infinite one. */
      readonly buckets: ReadonlyArray<readonly [bound: number, count: number]>
      readonly count: number
      readonly sum: number
    }
  | {
      readonly type: "summary"
      readonly quantiles: ReadonlyArray<readonly [quantile: number, value: number]>
      readonly count: number
      readonly sum: number
    }

/** The spans of a turn's trace. `turn` is the whole; the others lie within it. */
export const spans = {
  turn: "From acceptance until its end was on record; with the outcome, the session, its template and the agent's usage.",
  queue: "From acceptance to start: other turns, or a process that was not there.",
  wait: "Within `queue`: from when a process was begun for it until that was ready; left out where one was ready.",
  agent: "From start to end: the agent works.",
  store: "From the end until that was on record.",
} as const

export type SpanName = keyof typeof spans

/** Where traces and metrics are sent. */
export interface OtlpTarget {
  /** Where they are posted; each null where it is not wanted. */
  readonly traces: string | null
  readonly metrics: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly protocol: "json" | "protobuf"
  readonly serviceName: string
  readonly tracesEveryMs: number
  readonly metricsEveryMs: number
  /** Of one request. */
  readonly timeoutMs: number
}

/** Every log line about a session or a turn has its ids. */
export const annotations = {
  session: "the session's id",
  name: "the session's name",
  turn: "the turn's id, where the line is about one",
} as const
