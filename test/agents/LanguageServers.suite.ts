/** Real language servers and a real MCP server as sessions of a served runtime. `run.ts` runs it, without a network. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { Client } from "../../src/client/Client.ts"
import { eventually, isGone } from "../acceptance/Processes.ts"
import { markedProcesses, ServedRuntime, sessionProcesses } from "../acceptance/ServedRuntime.ts"
import { directoryOf, isInstalled } from "./install.ts"
import { everythingServer, jsonServer, typescriptServer, type RpcServer } from "./LanguageServers.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>

let root: string
let cwd: string
let served: ServedRuntime
let client: Client
beforeAll(async () => {
  root = mkdtempSync(join(process.env["CRECHE_AGENTS_WORK"] ?? tmpdir(), "creche-servers-"))
  cwd = join(root, "work")
  mkdirSync(cwd)
  served = new ServedRuntime(join(root, "data"))
  client = await served.connect()
})
afterAll(async () => {
  if (served === undefined) return
  await client.request("runtime/shutdown", {})
  await client.close()
  await served.ended
  const left = markedProcesses(served)
  rmSync(root, { recursive: true, force: true, maxRetries: 5 })
  expect(left).toEqual([])
})

const patience = { timeoutMs: 60_000 }

/** A session with the server; asked with values instead of texts. */
const open = async (server: RpcServer, name: string, protocol = server.protocol) => {
  const program = join(directoryOf(server), server.program)
  const session = await client.start({
    name,
    command: process.execPath,
    args: [program, ...server.args],
    cwd,
    env: { HOME: root },
    protocol,
    backoff: { initialMs: 1 },
  })
  const ask = async (prompt: object) => client.ask({ session: name, prompt: JSON.stringify(prompt), ...patience })
  return {
    name,
    pid: session.pid!,
    ask,
    /** The result of a request, which must be answered. */
    result: async (method: string, params?: object): Promise<any> => {
      const { status, text, error } = await ask({ method, ...(params === undefined ? {} : { params }) })
      expect({ method, status, error }).toEqual({ method, status: "completed", error: null })
      return JSON.parse(text)
    },
    notify: async (method: string, params: object) => {
      expect(await ask({ method, params, notify: true })).toMatchObject({ status: "completed" })
    },
    tell: (prompt: object) => client.tell({ session: name, prompt: JSON.stringify(prompt) }),
    /** The notifications that came, by their method. */
    notices: async (method: string): Promise<ReadonlyArray<any>> => {
      const found: Array<any> = []
      for await (const entry of client.transcript({ session: name })) {
        if (entry.type === "native" && (entry.message as any).method === method)
          found.push((entry.message as any).params)
      }
      return found
    },
    pending: async () => (await client.request("session/get", { session: name })).pendingRequests,
    session: () => client.request("session/get", { session: name }),
  }
}
type Opened = Awaited<ReturnType<typeof open>>

const openDocument = async (server: Opened, file: string, languageId: string, text: string) => {
  const uri = pathToFileURL(join(cwd, file)).href
  writeFileSync(join(cwd, file), text)
  await server.notify("textDocument/didOpen", { textDocument: { uri, languageId, version: 1, text } })
  return { textDocument: { uri } }
}

/** `run.ts` says why. */
const isOff = (server: RpcServer): boolean =>
  (wanted !== null && !wanted.includes(server.name)) || missing[server.name] !== undefined || !isInstalled(server)

describe.skipIf(isOff(typescriptServer))("typescript-language-server", () => {
  const text = [
    "export interface Point { readonly x: number; readonly y: number }",
    "export const origin: Point = { x: 0, y: 0 }",
    'export const wrong: number = "text"',
    "origin.",
    "",
  ].join("\n")

  it("answers hover, completion, symbols, definitions and renames, and reports what is wrong by itself", async () => {
    const server = await open(typescriptServer, "ts")
    const document = await openDocument(server, "a.ts", "typescript", text)
    const at = (line: number, character: number) => ({ ...document, position: { line, character } })
    expect((await server.result("textDocument/hover", at(1, 14))).contents.value).toContain("const origin: Point")
    const { items } = await server.result("textDocument/completion", at(3, 7))
    expect(items.map(({ label }: { readonly label: string }) => label)).toEqual(["x", "y"])
    const symbols = await server.result("textDocument/documentSymbol", document)
    expect(symbols.map(({ name }: { readonly name: string }) => name).toSorted()).toEqual(["Point", "origin", "wrong"])
    expect(await server.result("textDocument/definition", at(3, 2))).toMatchObject([
      { uri: document.textDocument.uri, range: { start: { line: 1 } } },
    ])
    const { changes } = await server.result("textDocument/rename", { ...at(1, 14), newName: "zero" })
    expect(changes[document.textDocument.uri]).toHaveLength(2)
    await eventually("the type error is reported", async () =>
      (await server.notices("textDocument/publishDiagnostics")).some(({ diagnostics }) =>
        diagnostics.some(({ code }: { readonly code: number }) => code === 2322),
      ),
    )
    expect((await server.notices("workspace/configuration")).length).toBeGreaterThan(0)
    expect(await server.ask({ method: "textDocument/nonsense", params: {} })).toMatchObject({
      status: "failed",
      error: { tag: "RpcError", code: -32601 },
    })
    expect(await server.pending()).toEqual([])
  })

  it("is as it was after a request that was cancelled", async () => {
    const server = await open(typescriptServer, "ts-cancel")
    const document = await openDocument(server, "b.ts", "typescript", text)
    const hover = { method: "textDocument/hover", params: { ...document, position: { line: 1, character: 14 } } }
    // It loads its libraries first, for a while.
    const slow = await server.tell(hover)
    await eventually("it runs", async () => (await client.request("turn/get", { turn: slow.id })).status === "running")
    expect(await client.request("session/cancel", { session: server.name })).toMatchObject({
      id: slow.id,
      status: "cancelled",
    })
    expect(await server.ask(hover)).toMatchObject({
      status: "completed",
      text: expect.stringContaining("origin: Point"),
    })
    expect(await server.session()).toMatchObject({ restarts: 0 })
  })

  it("comes back after kill -9, its own children gone with it, and stops with nothing left", async () => {
    const server = await open(typescriptServer, "ts-kill")
    const first = await openDocument(server, "c.ts", "typescript", text)
    await server.result("textDocument/documentSymbol", first)
    const own = () =>
      sessionProcesses(served).filter(({ environment }) => environment.includes(`CRECHE_SESSION=${sessionId}`))
    const { id: sessionId, incarnation } = await server.session()
    const before = own().map(({ pid }) => pid)
    expect(before.length, "the language server and its tsservers").toBeGreaterThanOrEqual(2)
    process.kill(server.pid, "SIGKILL")
    await eventually("another incarnation is ready", async () => {
      const now = await server.session()
      return now.incarnation > incarnation && now.status === "ready"
    })
    expect(before.filter((pid) => !isGone(pid))).toEqual([])
    const again = await openDocument(server, "c.ts", "typescript", text)
    expect(await server.result("textDocument/documentSymbol", again)).toHaveLength(3)
    const after = own().map(({ pid }) => pid)
    await client.request("session/stop", { session: server.name })
    expect(after.filter((pid) => !isGone(pid))).toEqual([])
  })
})

describe.skipIf(isOff(jsonServer))("vscode-json-languageserver", () => {
  it("answers hover, completion, symbols and formatting by a schema that it asks its client for", async () => {
    const server = await open(jsonServer, "json")
    const schema = {
      type: "object",
      properties: { colour: { enum: ["red", "green"], description: "what it looks like" }, size: { type: "number" } },
    }
    const text = '{"$schema": "test://shape", "colour": "blue", "size":    1}'
    const document = await openDocument(server, "a.json", "json", text)
    const hovering = server.tell({
      method: "textDocument/hover",
      params: { ...document, position: { line: 0, character: 30 } },
    })
    await eventually("it asks for the schema", async () => (await server.pending()).length > 0)
    // It may ask once for each of what it does at the same time.
    const answerAll = async () => {
      for (const { request, tool, input } of await server.pending()) {
        expect({ tool, input }).toEqual({ tool: "vscode/content", input: expect.anything() })
        const result = JSON.stringify(schema)
        await client.request("session/answer", { session: server.name, request, outcome: "allow", result })
      }
    }
    const { id } = await hovering
    await eventually("it hovers", async () => {
      await answerAll()
      return (await client.request("turn/get", { turn: id })).endedAt !== null
    })
    const hover = await client.request("turn/get", { turn: id })
    expect(hover.text).toContain("what it looks like")
    const completion = await server.result("textDocument/completion", {
      ...document,
      position: { line: 0, character: 39 },
    })
    expect((completion.items ?? completion).map(({ label }: { readonly label: string }) => label)).toContain('"red"')
    const symbols = await server.result("textDocument/documentSymbol", document)
    expect(symbols.map(({ name }: { readonly name: string }) => name)).toEqual(["$schema", "colour", "size"])
    const options = { tabSize: 2, insertSpaces: true }
    const range = { start: { line: 0, character: 0 }, end: { line: 0, character: text.length } }
    const edits = await server.result("textDocument/rangeFormatting", { ...document, range, options })
    expect(edits.length).toBeGreaterThan(0)
    await eventually("the wrong value is reported", async () => {
      await answerAll()
      return JSON.stringify(await server.notices("textDocument/publishDiagnostics")).includes("Value is not accepted")
    })
  })
})

describe.skipIf(isOff(everythingServer))("the MCP server that has everything", () => {
  it("lists and calls its tools, and reads its prompts and resources", async () => {
    const server = await open(everythingServer, "mcp")
    const { tools } = await server.result("tools/list")
    const names = tools.map(({ name }: { readonly name: string }) => name)
    expect(names).toEqual(expect.arrayContaining(["echo", "get-sum", "trigger-long-running-operation"]))
    expect(await server.ask({ tool: "echo", arguments: { message: "grüße ☃" } })).toMatchObject({
      status: "completed",
      text: "Echo: grüße ☃",
    })
    expect(await server.ask({ tool: "get-sum", arguments: { a: 2, b: 3 } })).toMatchObject({
      text: "The sum of 2 and 3 is 5.",
    })
    expect(await server.ask({ tool: "get-sum", arguments: { a: "two" } })).toMatchObject({
      status: "failed",
      error: { tag: "ToolError" },
    })
    expect(await server.ask({ tool: "get-tiny-image" })).toMatchObject({ status: "completed" })
    expect((await server.result("prompts/list")).prompts.length).toBeGreaterThan(0)
    const { resources } = await server.result("resources/list")
    const { contents } = await server.result("resources/read", { uri: resources[0].uri })
    expect(contents[0].text.length).toBeGreaterThan(0)
  })

  it("tells how far it is, gives up a call that is cancelled, and answers the next one in the same process", async () => {
    const server = await open(everythingServer, "mcp-cancel")
    const operation = (duration: number, steps: number) => ({
      tool: "trigger-long-running-operation",
      arguments: { duration, steps },
    })
    expect(await server.ask(operation(1, 4))).toMatchObject({ status: "completed" })
    expect((await server.notices("notifications/progress")).map(({ progress }) => progress)).toEqual([1, 2, 3, 4])
    const long = await server.tell(operation(60, 60))
    await eventually("it runs", async () => (await client.request("turn/get", { turn: long.id })).status === "running")
    expect(await client.request("session/cancel", { session: server.name })).toMatchObject({ status: "cancelled" })
    expect(await server.ask({ tool: "echo", arguments: { message: "on" } })).toMatchObject({ text: "Echo: on" })
    expect(await server.session()).toMatchObject({ restarts: 0 })
  })

  it("asks for a sample and for roots, which a client answers or refuses", async () => {
    const server = await open(everythingServer, "mcp-ask")
    const sample = { role: "assistant", model: "none", content: { type: "text", text: "a word from the client" } }
    const asking = { tool: "trigger-sampling-request", arguments: { prompt: "say a word" } }
    /** The turn, once it has ended with this answer to all that it asked. */
    const answered = async (
      prompt: object,
      tool: string,
      answer: { readonly outcome: string; readonly result?: any },
    ) => {
      const { id } = await server.tell(prompt)
      const asked: Array<string> = []
      await eventually(`${tool} is answered`, async () => {
        for (const { request, tool: wants } of await server.pending()) {
          asked.push(wants)
          await client.request("session/answer", { session: server.name, request, ...answer })
        }
        return (await client.request("turn/get", { turn: id })).endedAt !== null
      })
      expect(asked).toContain(tool)
      return await client.request("turn/get", { turn: id })
    }
    const sampling = "sampling/createMessage"
    expect(await answered(asking, sampling, { outcome: "allow", result: sample })).toMatchObject({
      status: "completed",
      text: expect.stringContaining("a word from the client"),
    })
    expect(await answered(asking, sampling, { outcome: "deny" })).toMatchObject({ status: "failed" })
    const roots = [{ uri: "file:///shapes", name: "shapes" }]
    expect(
      await answered({ tool: "get-roots-list" }, "roots/list", { outcome: "allow", result: { roots } }),
    ).toMatchObject({ status: "completed", text: expect.stringContaining("file:///shapes") })
  })

  it("stops with nothing left", async () => {
    const server = await open(everythingServer, "mcp-stop")
    await client.request("session/stop", { session: server.name })
    expect(isGone(server.pid)).toBe(true)
    expect(existsSync(cwd)).toBe(true)
  })
})
