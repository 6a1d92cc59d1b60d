/** Everything that a real runtime answers and tells fits the schemas of the contract, to the letter. */
import * as fc from "fast-check"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { SessionId, TurnId } from "../../src/domain/Ids.ts"
import { terminalTurnStatuses, type Turn } from "../../src/domain/Turn.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { runtimeLayer } from "../../src/main.ts"
import { contract, type Method, methods } from "../../src/transport/Contract.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { wireSession, wireTurn } from "../../src/transport/Wire.ts"
import { Entry, Session, Turn as TurnSchema } from "../../src/transport/WireSchema.ts"
import { transcriptTypes } from "../../src/domain/Transcript.ts"
import { checked } from "../support/Property.ts"
import { entryMisfits, misfits } from "../support/WireCheck.ts"
import { connect, type RawClient } from "./Client.ts"
import { makeStub } from "./StubRuntime.ts"

const agent = new URL("../fixtures/agents/acp/agent.ts", import.meta.url).pathname
const onWire = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

describe("what a runtime answers", () => {
  const directory = mkdtempSync(join(tmpdir(), "creche-results-"))
  const scope = Scope.makeUnsafe()
  let client: RawClient
  const used = new Set<string>()
  /** The client itself checks each result, and each event. */
  const call = async (method: Method, params: object = {}) => {
    used.add(method)
    return client.request(method, params)
  }
  const result = async (method: Method, params: object = {}) => {
    const { result: given, error } = await call(method, params)
    expect(error, JSON.stringify(error)).toBeUndefined()
    return given
  }
  const entriesOf = async (session: string) => (await result("session/transcript", { session, all: true })).entries

  beforeAll(async () => {
    await Effect.runPromise(
      Effect.gen(function* () {
        const layer = runtimeLayer({ dataDirectory: join(directory, "data") })
        const services = yield* Layer.buildWithScope(layer, scope)
        yield* UnixSocket.serve({ path: join(directory, "s"), closeMs: 50 }).pipe(
          Scope.provide(scope),
          Effect.provide(services),
        )
      }),
    )
    client = await connect(join(directory, "s"))
  })
  afterAll(async () => {
    client.stream.destroy()
    await Effect.runPromise(Scope.close(scope, Exit.void))
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  })

  it("of itself, before and after there is something to tell", async () => {
    await result("initialize", { protocolVersion: 1 })
    for (const method of [
      "runtime/info",
      "runtime/stats",
      "runtime/health",
      "runtime/metrics",
      "runtime/tree",
    ] as const)
      await result(method)
    await result("session/start", { name: "one", command: "cat", metadata: { any: [1, null, "x"] }, tags: { a: "b" } })
    await result("session/ask", { session: "one", prompt: [{ type: "text", text: "hello" }], idempotencyKey: "k" })
    for (const method of ["runtime/stats", "runtime/tree"] as const) await result(method)
  })

  it("of sessions with every field set, and with shorthand", async () => {
    await result("session/start", {
      name: "full",
      command: "cat",
      args: [],
      env: { A: "b", PATH: null },
      inheritEnv: "all",
      protocol: { type: "text", endOfTurn: { quietMs: 5 } },
      restart: "permanent",
      shutdown: "brutal_kill",
      stallTimeoutMs: 1000,
      onStall: "cancel",
      expiresInMs: 3_600_000,
      mailbox: { capacity: 3, overflow: "sliding" },
      permissions: {
        rules: [
          { tool: "*", input: { path: "*" }, decision: "allow" },
          { tool: "x", decision: "deny" },
        ],
      },
      limits: { transcriptEntries: 50, transcriptBytes: 9999, costUsd: 0.5, tokens: 5, turns: 50, onReached: "stop" },
      attachments: { roots: ["/tmp"] },
      retention: { maxAgeMs: 10_000 },
      task: "t-1",
      tags: { team: "a" },
      metadata: [true],
    })
    await result("session/get", { session: "t-1" })
    await result("session/extend", { session: "full", expiresInMs: null })
    await result("session/list", { limit: 1 })
    await result("session/list", { task: "t-1", status: ["ready"], tags: { team: "a" } })
  })

  it("of turns that wait, are cancelled, time out, fail, and of sessions that crash and are told to", async () => {
    await result("session/start", { name: "slow", command: "sleep", args: ["1000"], backoff: { initialMs: 1 } })
    const { id } = await result("session/tell", { session: "slow", prompt: "x" })
    const queued = await result("session/tell", { session: "slow", prompt: "y" })
    await result("turn/get", { turn: id })
    await result("turn/wait", { turn: id, timeoutMs: 5 })
    await result("session/cancel", { session: "slow", turn: queued.id })
    await result("session/cancel", { session: "slow" })
    await result("session/ask", { session: "slow", prompt: "z", timeoutMs: 20 })
    await result("session/start", {
      name: "dying",
      command: "sh",
      args: ["-c", "echo oh >&2; read x; kill -9 $$"],
      backoff: { initialMs: 1 },
    })
    expect((await result("session/ask", { session: "dying", prompt: "die" })).error.exit.signal).toBe("SIGKILL")
    expect((await result("session/get", { session: "dying" })).deaths).toHaveLength(1)
    await result("session/signal", { session: "one", signal: "SIGCONT" })
    await result("session/restart", { session: "slow" })
    await result("session/write", { session: "one", data: "eA==", encoding: "base64" })
    await result("session/suspend", { session: "slow" })
    await result("session/resume", { session: "slow" })
    await result("session/stop", { session: "slow", mode: "kill" })
    expect((await entriesOf("slow")).length).toBeGreaterThan(10)
    await result("session/history", { session: "slow", limit: 2 })
    await result("session/search", { query: "hello" })
    expect((await call("session/start", { command: "/no/such/program" })).error.data.tag).toBe("SpawnFailed")
    for (const method of ["session/resize", "session/screen"] as const) {
      const { error } = await call(method, {
        session: "one",
        ...(method === "session/resize" ? { cols: 1, rows: 1 } : {}),
      })
      expect(error.data.tag).toBe("Unsupported")
    }
  })

  it("of agents: thoughts, tools, permissions that wait and are answered, forks, native messages", async () => {
    await result("session/start", {
      name: "agent",
      command: process.execPath,
      args: [agent, "--store", join(directory, "acp"), "--noise"],
      protocol: "acp",
      cwd: directory,
    })
    await result("session/ask", { session: "agent", prompt: "think twice" })
    const asked = client.request("session/ask", { session: "agent", prompt: "run touch by-client", stream: true })
    let waiting: ReadonlyArray<{ readonly request: string }> = []
    for (const end = Date.now() + 20_000; waiting.length === 0 && Date.now() < end;)
      waiting = (await result("session/get", { session: "agent" })).pendingRequests
    await result("session/answer", { session: "agent", request: waiting[0]!.request, outcome: "allow", by: "test" })
    expect((await asked).result.status).toBe("completed")
    expect((await call("session/authenticate", { session: "agent" })).error).toBeDefined()
    const { error } = await call("session/fork", { session: "agent", name: "forked" })
    if (error !== undefined) expect(error.data.tag).toBe("Unsupported")
    await client.request("session/start", demoSpec({ name: "demo" }))
    await result("session/ask", { session: "demo", prompt: "/stream 3 x" })
    const seen = new Set<string>()
    for (const session of ["agent", "demo", "slow", "dying", "one"])
      for (const { type } of await entriesOf(session)) seen.add(type)
    // A stall takes its time, and is checked by itself below.
    expect(transcriptTypes.filter((type) => !seen.has(type) && type !== "turn/stalled" && type !== "note")).toEqual([])
  })

  it("of templates, subscriptions and what is removed; and of every method of the contract", async () => {
    await result("template/put", { name: "mine", template: { command: "cat", env: { A: "b" }, description: "d" } })
    await result("template/list")
    await result("template/get", { name: "mine" })
    await result("template/remove", { name: "mine" })
    await result("supervisor/start", { path: "root/own", strategy: "one_for_all", maxRestarts: 1, withinMs: 1 })
    await result("supervisor/stop", { path: "root/own" })
    const { subscription } = await result("session/subscribe", { session: "one", after: 0 })
    await client.until(({ params }) => params?.subscription === subscription && params.entry !== undefined)
    await result("session/unsubscribe", { subscription })
    const other = await result("session/subscribe", { session: "one" })
    await result("session/remove", { session: "one" })
    await client.until(({ params }) => params?.subscription === other.subscription && params.ended === true)
    await result("runtime/shutdown", { drainMs: 0 })
    expect(methods.filter((method) => !used.has(method))).toEqual([])
  })
})

describe("the schemas of results", () => {
  it("take every turn and every entry that the domain can make, and nothing besides", () => {
    const time = fc.integer({ min: 0, max: 8.64e15 })
    const text = fc.string({ unit: "binary" })
    const turn: fc.Arbitrary<Turn> = fc.record({
      id: fc.constant("turn_1" as TurnId),
      session: fc.constant("ses_1" as SessionId),
      status: fc.constantFrom("queued" as const, "running" as const, ...terminalTurnStatuses),
      prompt: fc.oneof(text, fc.array(fc.record({ type: fc.constant("text" as const), text }))),
      text,
      stopReason: fc.option(text),
      usage: fc.option(fc.dictionary(text, fc.integer())),
      error: fc.option(
        fc.record({
          tag: text,
          message: text,
          exit: fc.record({ kind: fc.constant("signaled" as const), signal: text, at: time }),
        }),
      ),
      idempotencyKey: fc.option(text),
      queuedAt: time,
      startedAt: fc.option(time),
      endedAt: fc.option(time),
      firstSeq: fc.nat(),
      lastSeq: fc.nat(),
    })
    checked(turn, (given) => {
      const told = given.startedAt !== null && given.endedAt !== null && given.endedAt < given.startedAt
      if (told) return
      const wired = onWire(wireTurn(given)) as object
      expect(misfits(TurnSchema, wired)).toEqual([])
      expect(misfits(TurnSchema, { ...wired, extra: 1 })).not.toEqual([])
      const { queuedAt: _, ...less } = wired as { readonly queuedAt: string }
      expect(misfits(TurnSchema, less)).not.toEqual([])
    })
  })

  it("notice a field too many, one missing and one of a wrong kind, wherever it is", () => {
    const session = onWire(wireSession(makeStub().session({ name: "a", command: "cat", limits: { turns: 3 } })))
    expect(misfits(Session, session)).toEqual([])
    const broken = (change: (value: any) => void) => {
      const copy = structuredClone(session)
      change(copy)
      return misfits(Session, copy)
    }
    expect(broken((it) => (it.more = 1))).toHaveLength(1)
    expect(broken((it) => (it.spec.limits.more = 1))[0]).toContain("spec.limits.more")
    expect(broken((it) => delete it.seq)[0]).toContain("seq")
    expect(broken((it) => (it.createdAt = 1_750_000_000_000))[0]).toContain("createdAt")
    expect(broken((it) => (it.createdAt = "2026-01-01"))[0]).toContain("createdAt")
    expect(broken((it) => (it.turns.queued = -1))[0]).toContain("turns.queued")
    const entry = { session: "s", seq: 1, at: "2025-06-15T15:06:40.000Z", incarnation: 1 }
    expect(entryMisfits({ ...entry, type: "turn/stalled", silentMs: 5, reason: "silent", action: "notify" })).toEqual(
      [],
    )
    expect(entryMisfits({ ...entry, type: "note", text: "x" })).toEqual([])
    expect(entryMisfits({ ...entry, type: "nothing" })).not.toEqual([])
    expect(entryMisfits({ ...entry, type: "note", text: "x", detail: "y" })).not.toEqual([])
  })

  it("have an entry for every type, and a result for every method", () => {
    const types = Entry.members.map((member) => member.fields.type.literal)
    expect(types).toEqual([...transcriptTypes])
    for (const method of methods) expect(contract[method].result, method).toBeDefined()
  })
})
