import * as Effect from "effect/Effect"
import { duplexPair } from "node:stream"
import { describe, expect, it } from "vitest"
import { Connection } from "../../src/transport/Connection.ts"
import { makeMethods } from "../../src/transport/Handlers.ts"
import { deadline, rawClient } from "./Client.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

const open = async (stub: Stub, options: { readonly maxMessageBytes?: number; readonly maxPending?: number } = {}) => {
  const [near, far] = duplexPair()
  const methods = await Effect.runPromise(Effect.provide(makeMethods(options), stub.layer))
  const services = await Effect.runPromise(Effect.context<never>())
  const connection = new Connection({ readable: near, writable: near, methods, services, ...options })
  return { connection, client: rawClient(far), near }
}

describe("a connection", () => {
  it("answers a start and an ask", async () => {
    const { client } = await open(makeStub())
    expect(
      await client.request("session/start", { name: "a", command: "cat", env: { KEY: "hunter2", GONE: null } }),
    ).toMatchObject({
      result: {
        name: "a",
        createdAt: "2025-06-15T15:06:40.000Z",
        exit: { kind: "signaled", at: "2025-06-15T15:06:40.123Z" },
        spec: { env: { KEY: "***", GONE: null }, cwd: null },
      },
    })
    const { result } = await client.request("session/ask", { session: "a", prompt: "hello" })
    expect(result).toMatchObject({ text: "echo hello", status: "completed", durationMs: 5 })
    expect(JSON.stringify(client.messages)).not.toContain("hunter2")
  })
})
