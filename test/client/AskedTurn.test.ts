import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, connect, type SessionHandle } from "../../src/client/index.ts"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { makeStub, type Stub } from "../transport/StubRuntime.ts"

let directory: string
let scope: Scope.Closeable
let stub: Stub
let client: Client
let session: SessionHandle

beforeEach(async () => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), "creche-asked-"))
  scope = Scope.makeUnsafe()
  stub = makeStub()
  stub.session({ name: "a" })
  const socket = path.join(directory, "s")
  await Effect.runPromise(
    UnixSocket.serve({ path: socket, closeMs: 50 }).pipe(Scope.provide(scope), Effect.provide(stub.layer)),
  )
  client = await connect({ socket })
  session = client.session("a")
})
afterEach(async () => {
  await client.close()
  await Effect.runPromise(Scope.close(scope, Exit.void))
  fs.rmSync(directory, { recursive: true, force: true })
})

const typesOf = async (entries: AsyncIterable<{ readonly type: string }>): Promise<ReadonlyArray<string>> => {
  const types: Array<string> = []
  for await (const { type } of entries) types.push(type)
  return types
}

describe("a turn that was asked of a session", () => {
  it("gives its entries in order, and then itself", async () => {
    const asked = session.ask("stream 3")
    expect(await typesOf(asked)).toEqual([
      "turn/queued",
      "turn/started",
      "turn/delta",
      "turn/delta",
      "turn/delta",
      "turn/ended",
    ])
    expect((await asked.turn).status).toBe("completed")
    const entries = session.ask("stream 1")[Symbol.asyncIterator]()
    let last = await entries.next()
    while (last.done !== true) last = await entries.next()
    expect(last.value.status).toBe("completed")
  })

  it("is asked whether or not anybody looks at its entries", async () => {
    expect((await session.ask("stream 2000").turn).status).toBe("completed")
  })

  it("keeps its entries for a loop that comes after its end", async () => {
    const asked = session.ask("stream 1000")
    await asked.turn
    expect(await typesOf(asked)).toHaveLength(1003)
  })

  it("takes in few entries for a slow loop, which may meanwhile ask something else, the turn itself too", async () => {
    const asked = session.ask("stream 3000")
    let seen = 0
    for await (const _ of asked) {
      if (++seen === 10) expect((await client.ask({ session: "a", prompt: "hi" })).text).toBe("echo hi")
      if (seen === 500) expect((await asked.turn).status).toBe("completed")
    }
    expect(seen).toBe(3003)
  })

  it("goes on when its loop is left, and is given up by its signal", async () => {
    const asked = session.ask("stream 1000")
    for await (const entry of asked) if (entry.type === "turn/delta") break
    expect((await asked.turn).status).toBe("completed")
    const controller = new AbortController()
    const hanging = session.ask("hang", { signal: controller.signal })
    const loop = async () => {
      for await (const _ of hanging) controller.abort()
    }
    await expect(loop()).rejects.toMatchObject({ tag: "RequestCancelled" })
    await expect(hanging.turn).rejects.toMatchObject({ tag: "RequestCancelled" })
  })

  it("that is refused fails its loop, and nothing else", async () => {
    const refused = client.session("nobody").ask("x")
    await expect(typesOf(refused)).rejects.toMatchObject({ tag: "SessionNotFound" })
    // Nobody looks at this one; it must not be an unhandled rejection.
    client.session("nobody").ask("x")
    expect((await session.ask("hi").turn).text).toBe("echo hi")
  })
})

describe("a session's handle", () => {
  it("names the session in every request", async () => {
    const turn = await session.tell("hi", { idempotencyKey: "k" })
    expect(turn.idempotencyKey).toBe("k")
    await client.request("turn/wait", { turn: turn.id })
    expect((await session.get()).name).toBe("a")
    const prompts: Array<unknown> = []
    for await (const { prompt } of session.history()) prompts.push(prompt)
    expect(prompts).toEqual(["hi"])
    expect(await typesOf(session.transcript())).toHaveLength(3)
    const seen: Array<number> = []
    for await (const event of await session.subscribe({ after: 1 })) {
      if ("entry" in event) seen.push(event.entry.seq)
      if (seen.length === 2) break
    }
    expect(seen).toEqual([2, 3])
    await session.remove()
    await expect(session.get()).rejects.toMatchObject({ tag: "SessionNotFound" })
  })
})
