import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Client } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { metrics } from "../../src/domain/Telemetry.ts"
import { Collector } from "../support/Collector.ts"
import { parseExposition, valueOf } from "../support/Exposition.ts"
import { eventually } from "./Processes.ts"
import { ServedRuntime } from "./ServedRuntime.ts"

let directory = ""
let collector: Collector
let runtime: ServedRuntime
let client: Client

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-otlp-"))
  mkdirSync(join(directory, "data"), { mode: 0o700 })
  collector = await Collector.start()
})
afterEach(async () => {
  runtime.child.kill("SIGKILL")
  await runtime.ended
  await collector.close()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const serve = async (env: NodeJS.ProcessEnv, ...flags: ReadonlyArray<string>) => {
  runtime = new ServedRuntime(join(directory, "data"), flags, {
    socket: join(directory, "s"),
    env: { OTEL_BSP_SCHEDULE_DELAY: "50", OTEL_METRIC_EXPORT_INTERVAL: "100", ...env },
  })
  client = await runtime.connect()
  await runtime.listening()
}

const own = async (name: Parameters<typeof valueOf>[1], labels: Record<string, string> = {}) =>
  valueOf(parseExposition((await client.request("runtime/metrics", {})).text), name, labels) ?? 0

describe("traces and metrics over OTLP", () => {
  it("come as a trace a turn, and as every metric of the catalogue that has something to tell", async () => {
    await serve({ OTEL_EXPORTER_OTLP_HEADERS: "x-key=a%20b", OTEL_SERVICE_NAME: "agents" }, "--otlp", collector.url)
    await client.start(demoSpec({ name: "demo", restart: "transient" }))
    const quick = await client.ask({ session: "demo", prompt: "/slow 60 a secret" })
    const failed = await client.ask({ session: "demo", prompt: "/crash 3" })
    await client.request("session/suspend", { session: "demo" })
    const woke = await client.ask({ session: "demo", prompt: "/echo woke" })
    await client.start({ name: "retried", ...demoSpec({ name: "retried" }), retryTurns: 2 })
    const cut = await client.tell({ session: "retried", prompt: "/slow 300 done" })
    await eventually("it runs", async () => (await client.request("turn/get", { turn: cut.id })).status === "running")
    process.kill((await client.request("session/get", { session: "retried" })).pid!, "SIGKILL")
    await client.request("turn/wait", { turn: cut.id })
    const wanted = [quick.id, failed.id, woke.id, cut.id]
    await eventually("all traces came", () => wanted.every((id) => collector.traceOf(id) !== undefined))

    const first = collector.traceOf(quick.id)!
    expect(Object.keys(first).toSorted()).toEqual(["agent", "queue", "store", "turn"])
    const { turn, queue, agent, store } = first
    expect([turn!.startedAt, agent!.endedAt - agent!.startedAt]).toEqual([Date.parse(quick.queuedAt), quick.durationMs])
    expect(turn!.parentSpanId).toBeUndefined()
    for (const child of [queue, agent, store]) {
      expect(child!.parentSpanId).toBe(turn!.spanId)
      expect(child!.traceId).toBe(turn!.traceId)
      expect(child!.startedAt >= turn!.startedAt && child!.endedAt <= turn!.endedAt).toBe(true)
    }
    expect(turn!.attributes).toMatchObject({ "creche.turn.status": "completed", "creche.session.name": "demo" })
    expect(turn!.status.code).toBe(1)
    expect(collector.traceOf(failed.id)!["turn"]).toMatchObject({
      status: { code: 2, message: "the turn ended as failed" },
      attributes: { "creche.turn.status": "failed", "creche.turn.error": "ProcessExited" },
    })
    // The turn woke the session: it waited for a process.
    const { wait, queue: waited } = collector.traceOf(woke.id)!
    expect(wait!.parentSpanId).toBe(waited!.spanId)
    expect(wait!.endedAt).toBeGreaterThanOrEqual(wait!.startedAt)
    expect(collector.traceOf(cut.id)!["turn"]!.events).toMatchObject([
      { name: "process ended", attributes: { "creche.exit": "signaled" } },
    ])
    expect(JSON.stringify(collector.spans)).not.toContain("secret")

    await eventually("metrics came that know of the turns", () => {
      const points = collector.metrics.find(({ name }) => name === "creche_turns_total")?.["sum"].dataPoints ?? []
      return points.some((point: any) => point.asDouble === 3)
    })
    for (const { name, description } of collector.metrics) {
      expect(description).toBe(metrics[name as keyof typeof metrics].help)
    }
    expect(collector.metrics.length).toBeGreaterThan(30)
    expect(collector.resource).toMatchObject({ "service.name": "agents", "service.version": expect.any(String) })
    expect(collector.headers.every((headers) => headers["x-key"] === "a b")).toBe(true)
    expect(await own("creche_otlp_exports_total", { signal: "traces", outcome: "failed" })).toBe(0)
    expect(await own("creche_otlp_exports_total", { signal: "traces", outcome: "sent" })).toBeGreaterThan(0)
  })

  it("are sent to nobody unless somebody is named", async () => {
    await serve({})
    await client.start({ name: "a", command: "cat" })
    await client.ask({ session: "a", prompt: "x" })
    expect(await own("creche_otlp_exports_total", { signal: "traces", outcome: "sent" })).toBe(0)
    expect((await client.request("runtime/metrics", {})).text).not.toContain("otlp")
    expect(collector.requests).toBe(0)
  })

  it("send what is left at the end", async () => {
    await serve({ OTEL_BSP_SCHEDULE_DELAY: "600000", OTEL_METRIC_EXPORT_INTERVAL: "600000" }, "--otlp", collector.url)
    await client.start({ name: "a", command: "cat" })
    const { id } = await client.ask({ session: "a", prompt: "x" })
    await client.close()
    expect(await runtime.kill("SIGTERM")).toEqual({ code: 0, signal: null })
    expect(collector.traceOf(id)).toBeDefined()
    expect(collector.metrics.length).toBeGreaterThan(30)
  })

  for (const trouble of ["down", "silent", "failing"] as const) {
    it(`keep nobody waiting where the collector is ${trouble}, are dropped and counted, and told once`, async () => {
      const { url } = collector
      if (trouble === "down") await collector.close()
      else collector.mood = trouble
      await serve({ OTEL_EXPORTER_OTLP_TIMEOUT: "200" }, "--otlp", url)
      await client.start({ name: "a", command: "cat" })
      for (let i = 0; i < 50; i++) expect((await client.ask({ session: "a", prompt: `${i}` })).text).toBe(`${i}`)
      await eventually("what it missed is counted", async () => (await own("creche_otlp_dropped_turns_total")) > 0)
      expect(await own("creche_otlp_exports_total", { signal: "traces", outcome: "failed" })).toBeGreaterThan(0)
      for (let i = 0; i < 50; i++) await client.ask({ session: "a", prompt: "more" })
      // One of each kind at most, whatever waits behind it.
      expect(collector.open).toBeLessThanOrEqual(2)
      await eventually("it is told", () => runtime.stderr.includes("the collector does not take traces"))
      await client.close()
      expect(await runtime.kill("SIGTERM")).toEqual({ code: 0, signal: null })
      expect(runtime.stderr.match(/does not take traces/g)).toHaveLength(1)
      if (trouble === "down") collector = await Collector.start()
    })
  }
})
