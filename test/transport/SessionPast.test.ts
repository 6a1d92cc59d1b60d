import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Client, connect, CrecheError } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { runtimeLayer } from "../../src/main.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import type { WireTurn } from "../../src/transport/Wire.ts"
import { deadline } from "./Client.ts"

/** A whole runtime on a real socket, with real processes; ended and begun anew in the same directory where a test wants it. */
class Served {
  readonly directory = mkdtempSync(join(tmpdir(), "creche-past-"))
  readonly socket = join(this.directory, "s")
  readonly store: "sqlite" | "memory"
  client!: Client
  #scope = Scope.makeUnsafe()

  constructor(store: "sqlite" | "memory") {
    this.store = store
  }

  async begin(): Promise<void> {
    this.#scope = Scope.makeUnsafe()
    const layer = runtimeLayer({ dataDirectory: join(this.directory, "data"), store: this.store })
    await Effect.runPromise(
      Effect.gen({ self: this }, function* () {
        const services = yield* Layer.buildWithScope(layer, this.#scope)
        yield* UnixSocket.serve({ path: this.socket, closeMs: 50 }).pipe(
          Scope.provide(this.#scope),
          Effect.provide(services),
        )
      }),
    )
    this.client = await connect({ socket: this.socket })
  }

  async end(): Promise<void> {
    await this.client.close()
    await Effect.runPromise(Scope.close(this.#scope, Exit.void))
  }

  async dispose(): Promise<void> {
    await this.end()
    rmSync(this.directory, { recursive: true, force: true })
  }
}

const failureOf = async (promise: Promise<unknown>): Promise<CrecheError> => {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(CrecheError)
  return error as CrecheError
}

const collected = async <A>(all: AsyncIterable<A>): Promise<Array<A>> => {
  const found: Array<A> = []
  for await (const each of all) found.push(each)
  return found
}

const prompts = (turns: ReadonlyArray<WireTurn>) => turns.map((turn) => turn.prompt)
const numbered = (count: number) => Array.from({ length: count }, (_, n) => `q${n + 1}`)

describe.each(["sqlite", "memory"] as const)("a session's past, from the %s store over the socket", (store) => {
  const served = new Served(store)
  const request: Client["request"] = (method, params) => served.client.request(method, params)
  const asked = async (session: string, all: ReadonlyArray<string>) => {
    for (const prompt of all) await served.client.ask({ session, prompt })
  }

  beforeAll(() => served.begin())
  afterAll(() => served.dispose())

  it("is a history, newest first, page by page, each turn once", async () => {
    await served.client.start({ name: "paged", command: "cat" })
    await asked("paged", numbered(7))
    const seen: Array<unknown> = []
    let before: number | null = null
    let pages = 0
    do {
      const page: { turns: ReadonlyArray<WireTurn>; nextBefore: number | null } = await request("session/history", {
        session: "paged",
        limit: 3,
        ...(before === null ? {} : { before }),
      })
      expect(page.turns.length).toBeLessThanOrEqual(3)
      seen.push(...prompts(page.turns))
      before = page.nextBefore
      pages++
    } while (before !== null)
    expect(seen).toEqual(numbered(7).toReversed())
    expect(pages).toBe(3)
    const { turns } = await request("session/history", { session: "paged" })
    expect(turns[0]).toMatchObject({ status: "completed", text: "q7", durationMs: expect.any(Number) })
    expect(turns[0]!.queuedAt).toMatch(/Z$/)
  })

  it("holds turns that run and that wait, with the time they were given", async () => {
    await served.client.start(demoSpec({ name: "open" }))
    await served.client.tell({ session: "open", prompt: "/slow 60000 x", timeoutMs: 50_000 })
    await served.client.tell({ session: "open", prompt: "next" })
    const { turns } = await request("session/history", { session: "open" })
    expect(prompts(turns)).toEqual(["next", "/slow 60000 x"])
    expect(turns[0]!.status).toBe("queued")
    expect(turns[0]).not.toHaveProperty("timeoutMs")
    expect(turns[1]).toMatchObject({ timeoutMs: 50_000, durationMs: null })
    await request("session/remove", { session: "open" })
  })

  it("is found by words of prompt and answer, in one session or in all, newest first", async () => {
    await served.client.start({ name: "haystack", command: "cat" })
    await served.client.start({ name: "other", command: "cat" })
    const haystack = ["the Blue whale sings", "a red herring", "blue, also: whales"]
    for (const [session, prompt] of [
      ...haystack.map((line) => ["haystack", line]),
      ["other", "blue whale elsewhere"],
    ]) {
      await asked(session!, [prompt!])
      // Turns of the same millisecond have no order.
      const ended = Date.now()
      await deadline("the clock moves", () => Date.now() > ended)
    }
    const { hits } = await request("session/search", { query: "BLUE whale*" })
    expect(prompts(hits.map((hit) => hit.turn))).toEqual([
      "blue whale elsewhere",
      "blue, also: whales",
      "the Blue whale sings",
    ])
    expect(hits[0]!.snippet).toContain("whale")
    expect(hits[0]!.turn.queuedAt).toMatch(/Z$/)
    const within = await request("session/search", { query: "blue", session: "haystack", limit: 1 })
    expect(prompts(within.hits.map((hit) => hit.turn))).toEqual(["blue, also: whales"])
  })

  it.each(['"', "a OR", "NEAR(", "-x", "col:y", "'; DROP TABLE", "*", "🐳", "\0", "("])(
    "takes %j for words to look for, and not for a query language",
    async (query) => {
      expect(await request("session/search", { query })).toMatchObject({ hits: expect.any(Array) })
    },
  )

  it("is looked up in sessions that there are", async () => {
    for (const failed of [
      request("session/search", { query: "x", session: "nobody" }),
      request("session/history", { session: "nobody" }),
      request("session/extend", { session: "nobody", expiresInMs: 1 }),
      request("session/fork", { session: "nobody" }),
      request("session/transcript", { session: "nobody", all: true }),
    ]) {
      expect(await failureOf(failed)).toMatchObject({ code: -32001, tag: "SessionNotFound" })
    }
  })

  it("is whole with `all`, also where the session keeps only so many entries", async () => {
    await served.client.start({ name: "ring", command: "cat", limits: { transcriptEntries: 10 } })
    await asked("ring", numbered(20))
    const { seq } = await request("session/get", { session: "ring" })
    const ring = await request("session/transcript", { session: "ring" })
    expect(ring.entries.map((entry) => entry.seq)).toEqual(Array.from({ length: 10 }, (_, n) => seq - 9 + n))
    expect(ring.trimmed).toBe(seq - 10)
    const all: Array<number> = []
    let trimmed = 0
    const range = { session: "ring", all: true, pageSize: 7 }
    for await (const entry of served.client.transcript(range, { onMissed: ({ through }) => (trimmed = through) })) {
      all.push(entry.seq)
    }
    // The memory store archives nothing.
    if (store === "sqlite") expect(trimmed).toBe(0)
    expect(all).toEqual(Array.from({ length: seq - trimmed }, (_, n) => trimmed + n + 1))
  })

  it("ends when its time is over, which can be moved", async () => {
    await served.client.start({ name: "mortal", command: "cat", expiresInMs: 600_000 })
    // What has to pass is measured by the steady clock; the wall clock may be up to 100 ms off it before that is noticed.
    const before = Date.now() - 100
    const { expiresAt } = await request("session/extend", { session: "mortal", expiresInMs: 3_600_000 })
    expect(Date.parse(expiresAt!)).toBeGreaterThanOrEqual(before + 3_600_000)
    expect(await request("session/extend", { session: "mortal", expiresInMs: null })).toMatchObject({ expiresAt: null })
    const century = 3_153_600_000_000
    const far = await request("session/extend", { session: "mortal", expiresInMs: century })
    expect(Date.parse(far.expiresAt!)).toBeGreaterThanOrEqual(before + century)
    await request("session/extend", { session: "mortal", expiresInMs: 50 })
    let gone: unknown
    await deadline("it is removed", () => {
      void failureOf(request("session/get", { session: "mortal" })).then(
        (error) => (gone = error.tag),
        () => {},
      )
      return gone === "SessionNotFound"
    })
  })

  it("goes on in a fork, where the protocol can; else it says that it cannot", async () => {
    await served.client.start({ name: "plain", command: "cat" })
    expect(await failureOf(request("session/fork", { session: "plain" }))).toMatchObject({
      code: -32012,
      tag: "Unsupported",
    })
    await served.client.start({ name: "agent", template: "demo" })
    await asked("agent", ["hello"])
    const forked = await request("session/fork", { session: "agent", name: "twin" })
    expect(forked).toMatchObject({ name: "twin", spec: { template: "demo" }, suspendedBy: null })
    expect((await served.client.ask({ session: "twin", prompt: "/echo here" })).text).toBe("here")
    expect(await failureOf(request("session/fork", { session: "agent", name: "twin" }))).toMatchObject({
      code: -32002,
      tag: "SessionAlreadyExists",
    })
  })

  it("is reached by the session's task as by its name and its id", async () => {
    const started = await served.client.start({ name: "named", command: "cat", task: "ticket 7/b" })
    for (const session of ["named", "ticket 7/b", started.id]) {
      expect((await served.client.ask({ session, prompt: "hi" })).text).toBe("hi")
      expect((await request("session/get", { session })).id).toBe(started.id)
      expect((await request("session/history", { session, limit: 1 })).turns).toHaveLength(1)
      expect((await request("session/search", { query: "hi", session })).hits.length).toBeGreaterThan(0)
      expect((await request("session/transcript", { session, all: true })).entries.length).toBeGreaterThan(0)
      expect((await request("session/extend", { session, expiresInMs: null })).id).toBe(started.id)
      expect(await request("session/suspend", { session })).toMatchObject({ suspendedBy: "client", pid: null })
    }
  })

  it("is counted", async () => {
    const stats = await request("runtime/stats", {})
    expect(stats.templates["demo"]).toBeGreaterThan(0)
    expect(stats).toMatchObject({
      expiredPending: expect.any(Number),
      durations: { count: expect.any(Number), p50Ms: expect.any(Number), maxMs: expect.any(Number) },
      store: { durable: store === "sqlite", sizeBytes: expect.any(Number) },
      sessions: { suspended: expect.any(Number) },
    })
    expect(stats.store.sizeBytes).toBeGreaterThan(0)
  })

  it.runIf(store === "sqlite")("is the same after the runtime ended and another began", async () => {
    const look = async () => ({
      history: await request("session/history", { session: "paged" }),
      hits: await request("session/search", { query: "blue" }),
      ring: await collected(served.client.transcript({ session: "ring", all: true, through: 60 })),
    })
    const before = await look()
    expect(before.ring).toHaveLength(60)
    await served.end()
    await served.begin()
    expect(await look()).toEqual(before)
    expect(await request("session/get", { session: "paged" })).toMatchObject({ suspendedBy: "runtime" })
    expect((await served.client.ask({ session: "paged", prompt: "awake" })).text).toBe("awake")
  })
})
