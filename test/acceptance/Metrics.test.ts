import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Client } from "../../src/client/index.ts"
import { metrics, type MetricName, type MetricSpec } from "../../src/domain/Telemetry.ts"
import { type Family, parseExposition, valueOf } from "../support/Exposition.ts"
import { eventually } from "./Processes.ts"
import { ServedRuntime } from "./ServedRuntime.ts"

let directory = ""
let runtime: ServedRuntime
let client: Client

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-metrics-"))
  const data = join(directory, "data")
  mkdirSync(data, { mode: 0o700 })
  runtime = new ServedRuntime(data, ["--http", "127.0.0.1:0", "--no-auth"], { socket: join(directory, "s") })
  client = await runtime.connect()
  await runtime.listening()
})
afterEach(async () => {
  await client.close()
  await runtime.kill("SIGTERM")
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const scrape = async (): Promise<ReadonlyMap<string, Family>> => {
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(runtime.stderr)![0]
  const answer = await fetch(`${url}/metrics`)
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  return parseExposition(text)
}

/** Metrics that have a series only where there is something to tell, or where the platform tells it. */
const conditional = new Set<MetricName>([
  "creche_usage_total",
  "creche_spawn_failures_total",
  "creche_exits_total",
  "creche_otlp_exports_total",
  "creche_otlp_dropped_turns_total",
  ...(process.platform === "linux"
    ? []
    : (["creche_session_resident_memory_bytes", "creche_session_processes", "process_open_fds"] as const)),
])

describe("the metrics of a runtime", () => {
  it("are those of the catalogue, with their types and labels, over HTTP as over the socket", async () => {
    await client.start({ name: "a", command: "cat" })
    const overHttp = await scrape()
    const { text, contentType } = await client.request("runtime/metrics", {})
    expect(contentType).toContain("version=0.0.4")
    for (const families of [overHttp, parseExposition(text)]) {
      for (const name of families.keys()) expect(Object.keys(metrics)).toContain(name)
      for (const [name, { type, labels }] of Object.entries(metrics) as Array<[MetricName, MetricSpec]>) {
        const family = families.get(name)
        if (family === undefined && conditional.has(name)) continue
        expect(family, name).toMatchObject({ type })
        for (const sample of family!.samples) {
          const own = Object.keys(sample.labels).filter((label) => label !== "le" && label !== "quantile")
          expect(own.toSorted(), name).toEqual([...labels].toSorted())
        }
      }
    }
  })

  it("count what happens: turns, exits, crashes, restarts, starts that fail, subscribers, refusals", async () => {
    await client.start({ name: "echo", command: "cat", backoff: { initialMs: 1 } })
    for (let i = 0; i < 5; i++) await client.ask({ session: "echo", prompt: "x" })
    await client.start({ name: "hangs", command: "sleep", args: ["1000"] })
    await client.ask({ session: "hangs", prompt: "x", timeoutMs: 30 })
    await expect(client.start({ name: "none", command: "no-such-program" })).rejects.toThrow(/no-such-program/)
    const { pid } = await client.request("session/get", { session: "echo" })
    process.kill(pid!, "SIGKILL")
    await eventually("it is there again", async () => {
      const found = await client.request("session/get", { session: "echo" })
      return found.incarnation === 2 && found.status === "ready"
    })
    await client.request("session/subscribe", { session: "echo" })
    const families = await scrape()
    const value = (name: MetricName, labels: Record<string, string> = {}, sample: string = name) =>
      valueOf(families, name, labels, sample)
    expect(value("creche_turns_total", { outcome: "completed" })).toBe(5)
    expect(value("creche_turns_total", { outcome: "timed_out" })).toBe(1)
    expect(value("creche_turn_duration_seconds", { outcome: "completed" }, "creche_turn_duration_seconds_count")).toBe(
      5,
    )
    expect(value("creche_turn_queue_seconds", {}, "creche_turn_queue_seconds_count")).toBe(6)
    expect(value("creche_exits_total", { reason: "signaled", code: "SIGKILL" })).toBe(1)
    expect(value("creche_crashes_total")).toBe(1)
    expect(value("creche_restarts_total")).toBe(1)
    expect(value("creche_gave_up_total")).toBe(0)
    expect(value("creche_spawn_failures_total", { errno: "ENOENT" })).toBe(1)
    expect(value("creche_subscriptions")).toBe(1)
    expect(value("creche_connections", { transport: "socket" })).toBe(1)
    expect(value("creche_sessions", { status: "ready" })).toBe(2)
    expect(value("creche_ready")).toBe(1)
    expect(value("creche_store_up")).toBe(1)
    expect(value("creche_store_commits_total")).toBeGreaterThan(10)
    expect(value("creche_store_commit_seconds", {}, "creche_store_commit_seconds_count")).toBeGreaterThan(0)
    expect(value("creche_store_size_bytes")).toBeGreaterThan(0)
    // The session whose turn timed out gets another process meanwhile.
    expect(value("creche_spawns_total")).toBeGreaterThanOrEqual(4)
    expect(value("creche_spawn_seconds", {}, "creche_spawn_seconds_count")).toBeGreaterThanOrEqual(3)
    if (process.platform === "linux") {
      expect(value("creche_session_resident_memory_bytes", { session: "echo", template: "" })).toBeGreaterThan(100_000)
      expect(value("process_resident_memory_bytes")).toBeGreaterThan(10_000_000)
    }
  })

  it("tell how deep mailboxes are", async () => {
    await client.start({ name: "slow", command: "sleep", args: ["1000"] })
    for (let i = 0; i < 4; i++) await client.request("session/tell", { session: "slow", prompt: "x" })
    const families = await scrape()
    expect(valueOf(families, "creche_turns_running")).toBe(1)
    expect(valueOf(families, "creche_turns_queued")).toBe(3)
    expect(valueOf(families, "creche_mailbox_depth_max")).toBe(3)
  })
})
