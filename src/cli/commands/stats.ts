/** `creche stats`: the runtime's counts as a table. */
import type { RuntimeStats, TurnDurations } from "../../supervisor/Runtime.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { bytes, duration, table } from "../Text.ts"

export const run: Run<"stats"> = async (call, io) => {
  if (call.flags.prometheus) {
    const metrics = await withRuntime(call, io, (client) => client.request("runtime/metrics", {}))
    await io.stdout(call.shared.json ? `${JSON.stringify(metrics)}\n` : metrics.text)
    return 0
  }
  const stats = await withRuntime(call, io, (client) => client.request("runtime/stats", {}))
  await io.stdout(call.shared.json ? `${JSON.stringify(stats)}\n` : render(stats))
  return 0
}

/** Statuses that nothing has are left out; a runtime without any says 0. */
const counts = (of: Readonly<Record<string, number>>): string => {
  const present = Object.entries(of).filter(([, count]) => count > 0)
  return present.length === 0 ? "0" : present.map(([status, count]) => `${count} ${status}`).join(", ")
}

/** Of completed turns alone. */
const durations = ({ count, meanMs, p50Ms, p90Ms, p99Ms, maxMs }: TurnDurations): string => {
  if (count === 0) return "-"
  const named = { mean: meanMs, p50: p50Ms, p90: p90Ms, p99: p99Ms, max: maxMs }
  return Object.entries(named)
    .flatMap(([name, ms]) => (ms === null ? [] : [`${name} ${duration(ms)}`]))
    .join(", ")
}

const render = (stats: RuntimeStats): string =>
  table(
    [
      { title: "WHAT", value: ([name]) => name },
      { title: "VALUE", value: ([, value]) => value },
    ],
    [
      ["sessions", counts(stats.sessions)],
      ["templates", counts(stats.templates)],
      ["expired", `${stats.expiredPending} being removed`],
      ["turns", counts(stats.turns)],
      ["durations", durations(stats.durations)],
      ["spawns", String(stats.spawns)],
      ["crashes", String(stats.crashes)],
      ["restarts", String(stats.restarts)],
      ["gave up", String(stats.gaveUp)],
      ["uptime", `${Math.floor(stats.uptimeMs / 1000)} s`],
      ["store", `${bytes(stats.store.sizeBytes)} ${stats.store.durable ? "on disk" : "in memory"}`],
      ["memory", `${bytes(stats.memory.rssBytes)} resident, ${bytes(stats.memory.heapUsedBytes)} heap`],
    ] as ReadonlyArray<readonly [string, string]>,
  )
