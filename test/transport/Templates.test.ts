import { duplexPair } from "node:stream"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { Connection } from "../../src/transport/Connection.ts"
import { makeMethods } from "../../src/transport/Handlers.ts"
import { rawClient } from "./Client.ts"
import { makeStub } from "./StubRuntime.ts"

const open = async () => {
  const [near, far] = duplexPair()
  const methods = await Effect.runPromise(Effect.provide(makeMethods(), makeStub().layer))
  const services = await Effect.runPromise(Effect.context<never>())
  void new Connection({ readable: near, writable: near, methods, services })
  return rawClient(far)
}

describe("template methods", () => {
  it("put, get, list and remove, and never show a variable's value", async () => {
    const client = await open()
    const template = { extends: "cat", env: { KEY: "hunter2", GONE: null }, persona: { agentArgs: ["-x"] } }
    const shown = {
      name: "mine",
      source: "client",
      template: { ...template, env: { KEY: "***", GONE: null } },
    }
    expect(await client.request("template/put", { name: "mine", template })).toMatchObject({ result: shown })
    expect(await client.request("template/get", { name: "mine" })).toMatchObject({ result: shown })
    const { result } = await client.request("template/list")
    expect(result.templates).toEqual([{ name: "cat", source: "built-in", template: { command: "cat" } }, shown])
    expect(await client.request("template/remove", { name: "mine" })).toMatchObject({ result: {} })
    expect(await client.request("template/get", { name: "mine" })).toMatchObject({
      error: { code: -32001, data: { tag: "TemplateNotFound", template: "mine" } },
    })
    expect(JSON.stringify(client.messages)).not.toContain("hunter2")
  })

  it("refuse to remove what is built in", async () => {
    expect(await (await open()).request("template/remove", { name: "cat" })).toMatchObject({
      error: { code: -32009, message: expect.stringContaining("built in"), data: { tag: "Forbidden" } },
    })
  })

  it.each([
    ["an unknown field", { name: "a", template: { comand: "x" } }, "template.comand", /did you mean "command"/],
    ["a session's name in it", { name: "a", template: { name: "x" } }, "template.name", /not a known field/],
    ["a bad name", { name: "a b", template: {} }, "name", /no space/],
    ["no template", { name: "a" }, "template", /required/],
    ["an unknown parent", { name: "a", template: { extends: "nope" } }, "template.extends", /no template/],
    ["a relative directory", { name: "a", template: { cwd: "x" } }, "template.cwd", /absolute/],
    [
      "half an end of turn",
      { name: "a", template: { protocol: { type: "text", endOfTurn: {} } } },
      "template.protocol.endOfTurn",
      /exactly one/,
    ],
  ])("refuse %s at its path", async (_, params, path, message) => {
    const { error } = await (await open()).request("template/put", params)
    expect(error).toMatchObject({ code: -32602, data: { tag: "InvalidParams" } })
    expect(error.data.issues).toEqual([{ path, message: expect.stringMatching(message) }])
  })
})
