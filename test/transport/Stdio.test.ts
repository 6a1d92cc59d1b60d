import * as Effect from "effect/Effect"
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process"
import { PassThrough } from "node:stream"
import { describe, expect, it } from "vitest"
import * as Stdio from "../../src/transport/Stdio.ts"
import { deadline } from "./Client.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

const begin = (stub: Stub, drainMs: number) => {
  stub.session({ name: "a" })
  const stdin = new PassThrough()
  const stdout = new PassThrough()
  const seen: Array<string> = []
  stdout.on("data", (chunk) => seen.push(String(chunk)))
  const done = Effect.runPromise(Effect.provide(Stdio.serve({ stdin, stdout, drainMs }), stub.layer))
  const answers = () =>
    seen
      .join("")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line))
  return { stdin, stdout, done, answers }
}

const ask = (id: number, prompt: string) =>
  `${JSON.stringify({ jsonrpc: "2.0", id, method: "session/ask", params: { session: "a", prompt } })}\n`

describe("stdio", () => {
  it("answers what was asked before the end of stdin, then shuts the runtime down once", async () => {
    const stub = makeStub()
    const { stdin, done, answers } = begin(stub, 5000)
    stdin.end(ask(1, "slow 100") + ask(2, "x").trimEnd())
    await done
    expect(answers().map((answer) => [answer.id, answer.result.status])).toEqual([
      [2, "completed"],
      [1, "completed"],
    ])
    expect(stub.shutdowns).toHaveLength(1)
    expect(stub.shutdowns[0]).toBeLessThanOrEqual(5000)
  })

  it("does not wait longer than the drain for what never ends; the shutdown's own outcome is still answered", async () => {
    const stub = makeStub()
    const { stdin, done, answers } = begin(stub, 30)
    stdin.end(ask(1, "hang"))
    await done
    expect(answers()).toMatchObject([{ id: 1, result: { status: "cancelled" } }])
    expect(stub.shutdowns[0]).toBeLessThan(10)
  })

  it("returns after a shutdown that the client asked for, with its answer written", async () => {
    const stub = makeStub()
    const { stdin, done, answers } = begin(stub, 5000)
    stdin.write('{"jsonrpc":"2.0","id":1,"method":"runtime/shutdown","params":{"drainMs":7}}\n')
    await done
    expect(answers()).toEqual([{ jsonrpc: "2.0", id: 1, result: { survivors: [] } }])
    expect(stub.shutdowns[0]).toBe(7)
  })

  it("takes a stdout that breaks as the client's going: no drain", async () => {
    const stub = makeStub()
    const { stdin, stdout, done } = begin(stub, 60_000)
    stdin.write(ask(1, "hang"))
    await deadline("it waits", () => stub.asks.waiting === 1)
    stdout.destroy(new Error("EPIPE"))
    await done
    expect(stub.asks).toEqual({ waiting: 0, interrupted: 1 })
    expect(stub.shutdowns).toEqual([0])
  })
})

const start = () => {
  const child = spawn(process.execPath, [new URL("./stdioServer.ts", import.meta.url).pathname])
  const errors: Array<string> = []
  child.stderr.on("data", (chunk) => errors.push(String(chunk)))
  child.stdin.on("error", () => {})
  const exit = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)))
  const ticks = () => errors.join("").split("tick").length - 1
  const last = () => JSON.parse(errors.join("").trim().split("\n").at(-1) ?? "")
  return { child, exit, ticks, last }
}

const subscribeToFlood =
  '{"jsonrpc":"2.0","id":1,"method":"session/subscribe","params":{"session":"flood","after":0}}\n'

describe("stdio of a process", () => {
  it("exits 0 at the end of stdin, and wrote nothing but protocol", async () => {
    const { child, exit, last } = start()
    const out: Array<string> = []
    child.stdout.on("data", (chunk) => out.push(String(chunk)))
    child.stdin.end(`${ask(1, "slow 50")}not json\n${ask(2, "x")}`)
    expect(await exit).toBe(0)
    const lines = out.join("").trimEnd().split("\n")
    expect(lines.map((line) => JSON.parse(line).id).toSorted()).toEqual([1, 2, null])
    expect(last()).toMatchObject({ shutdowns: 1 })
  })

  it("exits when its reader is gone, with stdin still open", async () => {
    const { child, exit, last } = start()
    child.stdin.write(subscribeToFlood)
    await new Promise((resolve) => child.stdout.once("data", resolve))
    child.stdout.destroy()
    expect(await exit).toBe(0)
    expect(last()).toMatchObject({ shutdowns: 1 })
  })

  it("is not held up by a client that never reads", async () => {
    const { child, exit, ticks }: ReturnType<typeof start> & { child: ChildProcessWithoutNullStreams } = start()
    child.stdin.write(subscribeToFlood)
    await deadline("it runs", () => ticks() > 0)
    const before = ticks()
    await deadline("its clock goes on", () => ticks() > before + 20)
    child.stdin.end()
    expect(await exit).toBe(0)
  })
})
