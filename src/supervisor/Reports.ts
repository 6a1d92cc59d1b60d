/** What the runtime says of itself: info, stats, tree. Reads the supervisor of sessions and the store, changes nothing. */
import * as Effect from "effect/Effect"
import { protocolVersion, type Runtime, type RuntimeInfo, type SupervisorTreeNode, type TreeNode } from "./Runtime.ts"
import type { RuntimeOptions } from "./RuntimeConfig.ts"
import type { SessionSupervisor } from "./SessionSupervisor.ts"
import { isNode, type Member, type SupervisorNode } from "./SupervisorTree.ts"

const nodeOf = (member: Member): TreeNode => {
  if (isNode(member)) return treeOf(member)
  const { id, name, status, pid, incarnation, restarts } = member.actor.snapshot()
  return { type: "session", id, name, status, pid, incarnation, restarts }
}

/** A supervisor with all below it, in start order. */
export const treeOf = (node: SupervisorNode): SupervisorTreeNode => ({
  type: "supervisor",
  path: node.path,
  status: node.givenUp === null ? "running" : "failed",
  strategy: node.strategy,
  maxRestarts: node.intensity?.maxRestarts ?? null,
  withinMs: node.intensity?.withinMs ?? null,
  reason: node.givenUp?.reason ?? null,
  restarts: node.restarts,
  children: Array.from(node.members.values(), nodeOf),
})

export const makeReports = (
  supervisor: SessionSupervisor,
  config: RuntimeOptions,
): Pick<Runtime["Service"], "info" | "stats" | "tree"> => {
  const { store, spawner } = supervisor
  const startedAt = supervisor.wall()
  const begunAt = supervisor.now()
  return {
    info: Effect.sync((): RuntimeInfo => ({
      name: "creche",
      version: config.version,
      protocolVersion,
      pid: process.pid,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      startedAt,
      containment: spawner.containment,
      dataDirectory: config.dataDirectory,
      socket: config.socket,
    })),
    stats: Effect.gen(function* () {
      const { sessions, templates, expired } = yield* store.counts(supervisor.wall())
      const sizeBytes = yield* store.sizeBytes
      let queued = 0
      let running = 0
      for (const { actor } of supervisor.register.slots()) {
        queued += actor.state.queue.items.size
        if (actor.state.phase._tag === "Busy") running++
      }
      const { restarts, crashes, gaveUp, spawns, turns } = supervisor.counters
      const { rss, heapUsed } = process.memoryUsage()
      return {
        sessions,
        templates,
        expiredPending: expired,
        turns: { queued, running, ...turns },
        usage: supervisor.usage.report(),
        durations: supervisor.durations.summary(),
        restarts,
        crashes,
        gaveUp,
        spawns,
        uptimeMs: supervisor.now() - begunAt,
        memory: { rssBytes: rss, heapUsedBytes: heapUsed },
        store: { durable: config.durable, sizeBytes },
      }
    }),
    tree: Effect.sync((): TreeNode => {
      const { tree } = supervisor.register
      const loose = supervisor.register.slots().filter((slot) => tree.above(slot) === undefined)
      return { ...treeOf(tree.root), children: [...loose, ...tree.root.members.values()].map(nodeOf) }
    }),
  }
}
