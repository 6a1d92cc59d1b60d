import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, type ClientSubscription, connect, CrecheError, type WireTurn } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { drawSeed, eventually, seeded } from "../acceptance/Processes.ts"
import { freePort, ServedRuntime } from "../acceptance/ServedRuntime.ts"

let directory = ""
let runtimes: Array<ServedRuntime> = []
let clients: Array<Client> = []
let port = 0

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-reconnect-"))
  port = await freePort()
  runtimes = []
  clients = []
})
afterEach(async () => {
  for (const client of clients) await client.close()
  for (const runtime of runtimes) await runtime.kill()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const up = async (): Promise<ServedRuntime> => {
  const runtime = new ServedRuntime(directory, ["--http", `127.0.0.1:${port}`, "--no-auth"])
  runtimes.push(runtime)
  await runtime.listening()
  return runtime
}

const ways = ["unix socket", "WebSocket"] as const

const lasting = async (way: (typeof ways)[number], options: object = {}): Promise<Client> => {
  const reconnect = { initialMs: 5, maxMs: 50, ...options }
  const where = way === "WebSocket" ? { url: `http://127.0.0.1:${port}` } : { socket: join(directory, "s") }
  const client = await connect({ ...where, reconnect })
  clients.push(client)
  return client
}

const failureOf = async (promise: Promise<unknown>): Promise<CrecheError> => {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(CrecheError)
  return error as CrecheError
}

/** Every entry that a subscription gives, as `session seq`, and what was missed. */
const follow = (subscription: ClientSubscription) => {
  const seen: Array<string> = []
  const done = (async () => {
    for await (const event of subscription)
      if ("entry" in event) seen.push(`${event.entry.session} ${event.entry.seq}`)
      else throw new Error(`missed ${JSON.stringify(event.missed)}`)
  })()
  return { seen, done }
}

const transcriptOf = async (client: Client, session: string): Promise<ReadonlyArray<string>> => {
  const seen: Array<string> = []
  for await (const entry of client.transcript({ session })) seen.push(`${entry.session} ${entry.seq}`)
  return seen
}

describe.each(ways)("a client that reconnects over a %s", (way) => {
  it("sees every entry once and asks every prompt once, whenever the runtime is killed", async () => {
    const random = seeded(drawSeed("reconnecting client"))
    let runtime = await up()
    const client = await lasting(way)
    const names = ["a", "b"]
    const all = await client.subscribe({})
    const following = follow(all)
    const own: Array<ReturnType<typeof follow>> = []
    const subscriptions: Array<ClientSubscription> = []
    for (const name of names) {
      await client.start(demoSpec({ name, retryTurns: 1, backoff: { initialMs: 5 }, intensity: { maxRestarts: 1000 } }))
      const subscription = await client.subscribe({ session: name, after: 0 })
      subscriptions.push(subscription)
      own.push(follow(subscription))
    }
    let live = true
    const turns = new Map<string, Array<WireTurn>>()
    const asking = names.map(async (name) => {
      const asked: Array<WireTurn> = []
      turns.set(name, asked)
      for (let n = 0; live; n++) {
        const prompt = n % 3 === 0 ? `/slow ${Math.floor(random() * 40)} ${name}${n}` : `/stream 4 ${name}${n}`
        if (n % 4 === 0) asked.push(await client.tell({ session: name, prompt }))
        else if (n % 4 === 1) {
          const turn = client.session(name).ask(prompt)
          const seqs: Array<number> = []
          for await (const entry of turn) seqs.push(entry.seq)
          expect(seqs).toEqual([...new Set(seqs)].toSorted((one, other) => one - other))
          asked.push(await turn.turn)
          expect(seqs.at(-1)).toBe((await turn.turn).lastSeq)
        } else asked.push(await client.ask({ session: name, prompt }))
      }
    })
    for (let kills = 0; kills < 5; kills++) {
      await sleep(random() * 250)
      await runtime.kill()
      if (random() < 0.5) await sleep(random() * 200)
      runtime = await up()
    }
    live = false
    await Promise.all(asking)
    for (const [index, name] of names.entries()) {
      const asked = turns.get(name)!
      expect(asked.length).toBeGreaterThan(0)
      for (const turn of asked) await client.request("turn/wait", { turn: turn.id })
      const history: Array<WireTurn> = []
      for await (const turn of client.history({ session: name })) history.push(turn)
      expect(history.map((turn) => turn.prompt).toReversed()).toEqual(asked.map((turn) => turn.prompt))
      expect(new Set(asked.map((turn) => turn.id)).size).toBe(asked.length)
      const transcript = await transcriptOf(client, name)
      await eventually(`all of ${name}`, () => own[index]!.seen.length >= transcript.length)
      expect(own[index]!.seen.slice(0, transcript.length)).toEqual(transcript)
      const { id } = await client.request("session/get", { session: name })
      const ofAll = () => following.seen.filter((entry) => entry.startsWith(`${id} `))
      await eventually(`all of ${name} among all`, () => ofAll().length >= transcript.length)
      expect(ofAll().slice(0, transcript.length)).toEqual(transcript)
    }
    for (const subscription of [all, ...subscriptions]) await subscription.close()
    await Promise.all([following.done, ...own.map(({ done }) => done)])
    expect([all, ...subscriptions].map((subscription) => subscription.ending())).toEqual(["closed", "closed", "closed"])
  })

  it("goes on with an answer that streams when the runtime dies, each piece once", async () => {
    const runtime = await up()
    const client = await lasting(way)
    await client.start(demoSpec({ name: "a", retryTurns: 1 }))
    const asked = client.session("a").ask("/slow 1500 late")
    const types: Array<string> = []
    for await (const entry of asked) {
      types.push(entry.type)
      if (entry.type === "turn/started" && runtimes.length === 1) {
        await runtime.kill()
        await up()
      }
    }
    expect(types.filter((type) => type === "turn/queued")).toHaveLength(1)
    expect(types.at(-1)).toBe("turn/ended")
    expect((await asked.turn).idempotencyKey).toMatch(/^[0-9a-f-]{36}$/)
    expect(["completed", "lost"]).toContain((await asked.turn).status)
  })

  it("waits with what it may repeat, and says of the rest that it was not sent", async () => {
    const runtime = await up()
    const client = await lasting(way)
    await client.start(demoSpec({ name: "a" }))
    await runtime.kill()
    // It may not know yet that nobody is there: then it was sent, and is not repeated either.
    const stopped = await failureOf(client.request("session/stop", { session: "a" }))
    expect(stopped).toMatchObject({ code: 0, tag: "ConnectionLost", data: { method: "session/stop" } })
    const refused = await failureOf(client.start(demoSpec({ name: "b" })))
    expect(refused).toMatchObject({ tag: "ConnectionLost", data: { method: "session/start", sent: false } })
    const waiting = [
      client.ask({ session: "a", prompt: "/echo one", idempotencyKey: "mine" }),
      client.tell({ session: "a", prompt: "/echo two" }),
      client.start({ ...demoSpec({ name: "c" }), ifExists: "return" }),
      client.request("session/get", { session: "a" }),
    ] as const
    const aborted = new AbortController()
    const given = failureOf(client.request("runtime/info", {}, { signal: aborted.signal }))
    aborted.abort()
    expect((await given).tag).toBe("RequestCancelled")
    await up()
    const [asked, told, started, got] = await Promise.all(waiting)
    expect(asked).toMatchObject({ status: "completed", text: "one", idempotencyKey: "mine" })
    expect([told.status, started.name, got.name]).toEqual(["queued", "c", "a"])
  })

  it("says of what was on its way that it may have been done", async () => {
    const runtime = await up()
    const client = await lasting(way)
    await client.start({ name: "slow", command: "sh", args: ["-c", "trap '' TERM; while :; do sleep 0.1; done"] })
    const stopping = failureOf(client.request("session/stop", { session: "slow" }))
    await eventually("it stops", async () => {
      return (await client.request("session/get", { session: "slow" })).status === "stopping"
    })
    await runtime.kill()
    expect(await stopping).toMatchObject({ tag: "ConnectionLost", data: { method: "session/stop", sent: true } })
  })

  it("ends the subscription of a session that was removed, or replaced by its namesake, meanwhile", async () => {
    const runtime = await up()
    const client = await lasting(way)
    await client.start(demoSpec({ name: "a" }))
    const subscription = await client.subscribe({ session: "a", after: 0 })
    const { done } = follow(subscription)
    await runtime.kill()
    // What dies with the runtime removes files of its own meanwhile, and a removal that meets that stops without a word.
    await eventually("its data is gone", () => {
      rmSync(directory, { recursive: true, force: true })
      return !existsSync(directory)
    })
    await up()
    await client.start({ ...demoSpec({ name: "a" }), ifExists: "return" })
    await done
    expect(subscription.ending()).toBe("removed")
  })

  it("is told what the limits dropped while it was away, and misses nothing else", async () => {
    const runtime = await up()
    const client = await lasting(way)
    const limits = { transcriptEntries: 20 }
    const { id } = await client.start(demoSpec({ name: "a", limits, retention: { maxBytes: 1 } }))
    const subscriptions = [await client.subscribe({ session: "a", after: 0 }), await client.subscribe({})]
    await client.ask({ session: "a", prompt: "/echo one" })
    await runtime.kill()
    await up()
    const other = await connect({ socket: join(directory, "s") })
    clients.push(other)
    const { lastSeq } = await other.ask({ session: "a", prompt: "/stream 60 x" })
    for (const subscription of subscriptions) {
      const ranges: Array<readonly [number, number]> = []
      for await (const event of subscription) {
        if ("entry" in event) ranges.push([event.entry.seq - 1, event.entry.seq])
        else ranges.push([event.missed.after, event.missed.through])
        if ("missed" in event) expect(event.missed.session).toBe(id)
        if (ranges.at(-1)![1] >= lastSeq) break
      }
      expect(ranges.some(([after, through]) => through - after > 1)).toBe(true)
      for (const [at, [after]] of ranges.entries()) if (at > 0) expect(after).toBe(ranges[at - 1]![1])
    }
  })

  it("is over when the runtime stays away for too long", async () => {
    const runtime = await up()
    const client = await lasting(way, { withinMs: 150 })
    await client.start(demoSpec({ name: "a" }))
    const subscription = await client.subscribe({ session: "a" })
    const { done } = follow(subscription)
    await runtime.kill()
    const lost = await failureOf(client.request("runtime/info", {}))
    expect(lost).toMatchObject({ tag: "ConnectionLost", data: { withinMs: 150 } })
    expect(lost.message).toContain("did not come back")
    await client.closed
    await done
    expect(subscription.ending()).toBe("lost")
  })

  it("closes while the runtime is away, and leaves nobody waiting", async () => {
    const runtime = await up()
    const client = await lasting(way, { initialMs: 10_000, maxMs: 10_000 })
    await client.start(demoSpec({ name: "a" }))
    const subscription = await client.subscribe({ session: "a" })
    const { done } = follow(subscription)
    const asked = failureOf(client.ask({ session: "a", prompt: "/slow 60000 x" }))
    await runtime.kill()
    const other = failureOf(client.request("runtime/info", {}))
    await client.close()
    expect([(await asked).tag, (await other).tag]).toEqual(["ConnectionLost", "ConnectionLost"])
    await done
  })

  it("fails an ask whose listener throws with what it threw, and keeps the connection", async () => {
    await up()
    const client = await lasting(way)
    await client.start(demoSpec({ name: "a" }))
    const broken = new Error("the listener broke")
    for (const onEntry of [
      () => Promise.reject(broken),
      () => {
        throw broken
      },
    ])
      await expect(client.ask({ session: "a", prompt: "/stream 3 x" }, { onEntry })).rejects.toBe(broken)
    expect((await client.ask({ session: "a", prompt: "/echo hi" })).text).toBe("hi")
  })

  it("outlives a runtime that ends in good order and refuses work meanwhile", async () => {
    const runtime = await up()
    const client = await lasting(way)
    await client.start(demoSpec({ name: "a" }))
    const told = await client.tell({ session: "a", prompt: "/slow 400 x" })
    const other = await connect({ socket: join(directory, "s") })
    const shutdown = other.request("runtime/shutdown", { drainMs: 5000 })
    await eventually("it drains", async () => (await client.request("runtime/health", {})).status === "draining")
    const asked = client.ask({ session: "a", prompt: "/echo after" })
    await shutdown
    await other.close()
    await runtime.ended
    await up()
    expect((await asked).text).toBe("after")
    expect((await client.request("turn/get", { turn: told.id })).status).toBe("completed")
  })
})
