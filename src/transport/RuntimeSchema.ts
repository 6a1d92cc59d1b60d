/**
 * What clients see of the runtime as a whole, as schemas: see `WireSchema`. Called by `Contract`.
 */
import * as Schema from "effect/Schema"
import { containments, sessionStatuses } from "../domain/Session.ts"
import { terminalTurnStatuses } from "../domain/Turn.ts"
import { restartStrategies } from "../domain/SupervisorStore.ts"
import type { TreeNode } from "../supervisor/Runtime.ts"
import { Time } from "./WireSchema.ts"

const { Array: List, Boolean, Finite, Int, Literal, Literals, NullOr, Record, String: Text, Struct } = Schema

const count = Int.check(Schema.isGreaterThanOrEqualTo(0))
const amount = Finite.check(Schema.isGreaterThanOrEqualTo(0))
const counts = <const S extends ReadonlyArray<string>>(of: S) => Record(Literals(of), count)
const usage = Record(Text, Finite)
const containment = Literals(containments)

export const Initialized = Struct({
  protocolVersion: Int,
  serverInfo: Struct({ name: Text, version: Text }),
  capabilities: Struct({
    methods: List(Text),
    framings: List(Text),
    subscriptions: Literal(true),
    streaming: Literal(true),
    maxMessageBytes: count,
    maxPendingRequests: count,
    containment: Text,
  }),
}).annotate({ identifier: "Initialized" })

export const Info = Struct({
  name: Literal("creche"),
  version: Text,
  protocolVersion: Int,
  pid: Int,
  node: Text,
  platform: Text,
  startedAt: Time,
  containment: Struct({
    level: containment,
    detail: Text,
    levels: List(Struct({ level: containment, available: Boolean, detail: Text })),
  }),
  dataDirectory: Text,
  socket: NullOr(Text),
}).annotate({ identifier: "RuntimeInfo" })
export type WireInfo = typeof Info.Type

export const Stats = Struct({
  sessions: counts(sessionStatuses),
  templates: Record(Text, count),
  expiredPending: count,
  usage: Struct({ total: usage, templates: Record(Text, usage) }),
  durations: Struct({
    count,
    meanMs: NullOr(amount),
    p50Ms: NullOr(amount),
    p90Ms: NullOr(amount),
    p99Ms: NullOr(amount),
    maxMs: NullOr(amount),
  }),
  store: Struct({ durable: Boolean, sizeBytes: count }),
  turns: counts(["queued", "running", ...terminalTurnStatuses]),
  restarts: count,
  crashes: count,
  gaveUp: count,
  spawns: count,
  uptimeMs: amount,
  memory: Struct({ rssBytes: count, heapUsedBytes: count }),
}).annotate({ identifier: "RuntimeStats" })

export const Health = Struct({
  status: Literals(["ok", "starting", "degraded", "draining"]),
  live: Literal(true).annotate({ description: "it answers, so it lives" }),
  ready: Boolean.annotate({ description: "it takes work: it is neither starting nor draining, and its store answers" }),
  problems: List(Text).annotate({ description: "a line for each thing that is not as it should be" }),
}).annotate({ identifier: "RuntimeHealth" })

export const Metrics = Struct({ contentType: Text, text: Text }).annotate({
  identifier: "RuntimeMetrics",
  description: "text, and its content type",
})
export type WireMetrics = typeof Metrics.Type

/** Nested in itself. A limit that is null is none; `reason`: why a supervisor is failed. */
export const Tree: Schema.Codec<TreeNode> = Schema.Union([
  Struct({
    type: Literal("supervisor"),
    path: Text,
    status: Literals(["running", "failed"]),
    strategy: Literals(restartStrategies),
    maxRestarts: NullOr(count),
    withinMs: NullOr(count),
    reason: NullOr(Text),
    restarts: count,
    children: List(Schema.suspend((): Schema.Codec<TreeNode> => Tree)),
  }),
  Struct({
    type: Literal("session"),
    id: Text,
    name: Text,
    status: Literals(sessionStatuses),
    pid: NullOr(Int),
    incarnation: count,
    restarts: count,
  }),
]).annotate({ identifier: "TreeNode" }) as unknown as Schema.Codec<TreeNode>

export const Screen = Struct({ cols: count, rows: count, lines: List(Text) }).annotate({
  identifier: "Screen",
  description: "lines: from the top, without what is blank at their ends",
})
