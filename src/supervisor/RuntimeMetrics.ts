/** Everything that `domain/Telemetry` names and the runtime itself knows, at the moment somebody asks. Changes nothing. */
import { readdirSync } from "node:fs"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { processOf, type SessionState } from "../actors/SessionState.ts"
import { type MetricSample, usageKinds } from "../domain/Telemetry.ts"
import type { StoreCounts } from "../domain/SessionStore.ts"
import { type TerminalTurnStatus, terminalTurnStatuses } from "../domain/Turn.ts"
import { type Emit, measure, type Meters, type Source } from "./Meters.ts"
import type { RuntimeHealth } from "./Runtime.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import { SessionMemory } from "./SessionMemory.ts"
import type { SessionSupervisor } from "./SessionSupervisor.ts"

/** A store that takes longer to be counted counts as one that does not answer (ms). */
const storePatienceMs = 5_000

interface StoreReport {
  readonly counts: StoreCounts
  readonly sizeBytes: number
}

export const makeMetrics = (
  supervisor: SessionSupervisor,
  config: RuntimeOptions,
  meters: Meters,
  health: Effect.Effect<RuntimeHealth>,
): Effect.Effect<Effect.Effect<ReadonlyArray<MetricSample>>, never, Scope.Scope> => {
  const { store, spawner } = supervisor
  const memory = new SessionMemory()
  const startedAtSeconds = Math.round((Date.now() - performance.now()) / 1000)
  /** What had to be waited for. */
  let report: StoreReport | undefined
  let isReady = false

  const liveSessions = () =>
    supervisor.register.slots().flatMap(({ actor }) => {
      const { phase, spec } = actor.state
      const leader = processOf(phase)?.pid
      return leader === undefined ? [] : [{ name: spec.name, template: spec.template, leader }]
    })

  const tell: Source = (emit) => {
    const { version } = config
    emit.gauge("creche_build_info", 1, {
      version,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      containment: spawner.containment.level,
    })
    emit.gauge("creche_ready", isReady ? 1 : 0)
    emit.gauge("creche_draining", supervisor.draining ? 1 : 0)
    emitStore(emit, report)
    emitTurns(emit, supervisor, meters)
    emitProcesses(emit, supervisor, meters)
    for (const { session, template, residentBytes, processes } of memory.of(liveSessions)) {
      emit.gauge("creche_session_resident_memory_bytes", residentBytes, { session, template })
      emit.gauge("creche_session_processes", processes, { session, template })
    }
    emitRuntime(emit, meters, startedAtSeconds)
  }

  const collect = Effect.gen(function* () {
    const asked = Effect.all({ counts: store.counts(supervisor.wall()), sizeBytes: store.sizeBytes }).pipe(
      Effect.timeoutOption(storePatienceMs),
      Effect.catch(() => Effect.succeedNone),
    )
    const answer = yield* asked
    report = answer._tag === "Some" ? answer.value : undefined
    isReady = (yield* health).ready
    return meters.collect()
  })
  return Effect.as(measure(tell), collect)
}

const emitStore = (emit: Emit, report: StoreReport | undefined): void => {
  emit.gauge("creche_store_up", report === undefined ? 0 : 1)
  if (report === undefined) return
  const { counts, sizeBytes } = report
  for (const [status, count] of Object.entries(counts.sessions)) emit.gauge("creche_sessions", count, { status })
  emit.counter("creche_sessions_created_total", counts.created)
  emit.gauge("creche_sessions_expired", counts.expired)
  emit.gauge("creche_store_size_bytes", sizeBytes)
}

const queuedIn = ({ queue }: SessionState): number => queue.items.size

const emitTurns = (emit: Emit, { register, counters, usage }: SessionSupervisor, meters: Meters): void => {
  let queued = 0
  let deepest = 0
  let running = 0
  for (const { actor } of register.slots()) {
    const depth = queuedIn(actor.state)
    queued += depth
    deepest = Math.max(deepest, depth)
    if (actor.state.phase._tag === "Busy") running++
  }
  emit.gauge("creche_turns_running", running)
  emit.gauge("creche_turns_queued", queued)
  emit.gauge("creche_mailbox_depth_max", deepest)
  for (const [outcome, count] of Object.entries(counters.turns) as Array<[TerminalTurnStatus, number]>) {
    emit.counter("creche_turns_total", count, { outcome })
  }
  emit.histogram("creche_turn_queue_seconds", meters.queueWait)
  for (const outcome of terminalTurnStatuses) {
    emit.histogram("creche_turn_duration_seconds", meters.turnDuration[outcome], { outcome })
  }
  const { total } = usage.report()
  for (const kind of usageKinds) {
    const amount = total[kind]
    if (amount !== undefined) emit.counter("creche_usage_total", amount, { kind })
  }
}

const emitProcesses = (emit: Emit, supervisor: SessionSupervisor, meters: Meters): void => {
  const { spawns, crashes, restarts, gaveUp } = supervisor.counters
  emit.gauge("creche_starts_waiting", supervisor.waitingStarts)
  emit.counter("creche_spawns_total", spawns)
  for (const [errno, count] of meters.spawnFailures.counts)
    emit.counter("creche_spawn_failures_total", count, { errno })
  emit.histogram("creche_spawn_seconds", meters.spawnTime)
  for (const [key, count] of meters.exits.counts) {
    const [reason = "", code = ""] = key.split(" ")
    emit.counter("creche_exits_total", count, { reason, code })
  }
  emit.counter("creche_crashes_total", crashes)
  emit.counter("creche_restarts_total", restarts)
  emit.counter("creche_gave_up_total", gaveUp)
  emit.histogram("creche_store_commit_seconds", meters.commitTime)
  emit.counter("creche_store_commits_total", meters.commits)
}

const openDescriptors = (): number | undefined => {
  try {
    // One of them is the listing's own.
    return readdirSync("/proc/self/fd").length - 1
  } catch {
    return undefined
  }
}

const emitRuntime = (emit: Emit, { eventLoop, refusals }: Meters, startedAtSeconds: number): void => {
  const delay = eventLoop.value
  if (delay !== undefined) emit.summary("creche_event_loop_delay_seconds", delay)
  const { rss, heapUsed } = process.memoryUsage()
  emit.gauge("creche_heap_used_bytes", heapUsed)
  emit.gauge("process_resident_memory_bytes", rss)
  const { user, system } = process.cpuUsage()
  emit.counter("process_cpu_seconds_total", (user + system) / 1e6)
  const descriptors = openDescriptors()
  if (descriptors !== undefined) emit.gauge("process_open_fds", descriptors)
  emit.gauge("process_start_time_seconds", startedAtSeconds)
  emit.counter("creche_http_refusals_total", refusals.unauthorized, { reason: "unauthorized" })
  emit.counter("creche_http_refusals_total", refusals.origin, { reason: "origin" })
}
