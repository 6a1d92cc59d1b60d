/** JSON-RPC children as sessions of a runtime: what they say well, and everything else that they may say. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  openRuntime,
  type EmbeddedRuntime,
  type SessionSpecInput,
  type TranscriptEntry,
  type Turn,
} from "../../src/index.ts"
import { eventually, isGone } from "../acceptance/Processes.ts"
import { ServedRuntime } from "../acceptance/ServedRuntime.ts"

const server = fileURLToPath(new URL("../fixtures/rpcServer.ts", import.meta.url))
const framings = ["lines", "contentLength"] as const
type Framing = (typeof framings)[number]

let runtime: EmbeddedRuntime
beforeAll(async () => {
  runtime = await openRuntime()
})
afterAll(async () => {
  expect((await runtime.close()).survivors).toEqual([])
})

let names = 0
const open = async (framing: Framing, spec: Partial<SessionSpecInput> = {}) => {
  const name = `rpc-${++names}`
  const session = await runtime.start({
    name,
    command: process.execPath,
    args: [server, framing],
    protocol: { type: "jsonrpc", framing, cancel: { method: "$/cancelRequest", params: { id: "{id}" } } },
    backoff: { initialMs: 1 },
    ...spec,
  })
  const entries = async (): Promise<ReadonlyArray<TranscriptEntry>> =>
    (await runtime.transcript(name, { limit: 100_000 })).entries
  return {
    name,
    pid: session.pid!,
    ask: (prompt: object | string): Promise<Turn> =>
      runtime.ask(name, typeof prompt === "string" ? prompt : JSON.stringify(prompt), { timeoutMs: 30_000 }),
    entries,
    natives: async () => (await entries()).flatMap((entry) => (entry.type === "native" ? [entry.message] : [])),
    printed: async () =>
      (await entries())
        .map((entry) => (entry.type === "output" && entry.stream === "stdout" ? entry.data : ""))
        .join(""),
    notes: async () => (await entries()).flatMap((entry) => (entry.type === "note" ? [entry.text] : [])),
  }
}
type Opened = Awaited<ReturnType<typeof open>>

/** It is as good as new: a fresh process, which answers. */
const expectFresh = async (session: Opened) => {
  expect(await session.ask({ method: "count" })).toMatchObject({ status: "completed", text: "1" })
  expect((await runtime.get(session.name)).incarnation).toBe(2)
  expect(isGone(session.pid)).toBe(true)
}
/** The same process as ever answers. */
const expectSame = async (session: Opened) => {
  expect(await session.ask({ method: "echo", params: { still: "here" } })).toMatchObject({ text: '{"still":"here"}' })
  expect(await runtime.get(session.name)).toMatchObject({ incarnation: 1, pid: session.pid, restarts: 0 })
}

describe.each(framings)("a child that speaks JSON-RPC by %s", (framing) => {
  it("answers requests one after the other, and those in a hurry", async () => {
    const session = await open(framing)
    expect(await session.ask({ method: "echo", params: ["grüße ☃", 1] })).toMatchObject({
      status: "completed",
      text: '["grüße ☃",1]',
      stopReason: "end_turn",
    })
    const turns = await Promise.all(Array.from({ length: 50 }, () => session.ask({ method: "count" })))
    expect(turns.map(({ text }) => text)).toEqual(turns.map((_, index) => String(index + 1)))
    expect(await session.ask({ method: "nothing" })).toMatchObject({
      status: "failed",
      error: { tag: "RpcError", code: -32601, data: { method: "nothing" } },
    })
    expect(await session.ask("please")).toMatchObject({ status: "failed", error: { tag: "InvalidPrompt" } })
    expect(await session.ask({ method: "say", params: { a: 1 }, notify: true })).toMatchObject({
      status: "completed",
      text: "",
    })
    await eventually("what it says of itself is recorded", async () =>
      (await session.natives()).some((message) => (message as { readonly method?: string }).method === "said"),
    )
    await expectSame(session)
  })

  it("may print what is no message, and no answer is lost", async () => {
    const session = await open(framing)
    const garbage = [
      Buffer.from("Listening …\n[warn] careful\n"),
      Buffer.from("{not json\n"),
      Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x0a]),
      Buffer.concat([Buffer.alloc(50_000, 0xe9), Buffer.from("\n\n")]),
    ]
    for (const bytes of framing === "lines" ? garbage : garbage.filter((_, index) => index !== 1)) {
      expect(await session.ask({ method: "print", params: { base64: bytes.toString("base64") } })).toMatchObject({
        status: "completed",
        text: '"printed"',
      })
    }
    expect(await session.printed()).toMatch(/^Listening …\n\[warn\] careful\n/)
    await expectSame(session)
  })

  it("that sends 20 MB at once is answered where its limit allows it, and survived where it does not", async () => {
    const bytes = 20 * 1024 * 1024
    const allowed = await open(framing, { limits: { lineBytes: 32 * 1024 * 1024 } })
    const turn = await allowed.ask({ method: "sized", params: { bytes } })
    expect({ status: turn.status, length: turn.text.length }).toEqual({ status: "completed", length: bytes + 2 })
    await expectSame(allowed)
    const limited = await open(framing)
    expect(await limited.ask({ method: "sized", params: { bytes } })).toMatchObject({
      status: "failed",
      error: { tag: "LimitReached", limit: "lineBytes" },
    })
    expect((await limited.notes()).join()).toMatch(/\d{8} bytes was skipped; limits.lineBytes is 16777216/)
    await expectFresh(limited)
  })

  it("that ends in the middle of a message fails its turn, and the next process answers", async () => {
    const session = await open(framing)
    const turn = await session.ask({ method: "half", params: { after: "exit" } })
    expect(turn.status).toBe("failed")
    expect(["ProcessExited", "ProtocolBroken"]).toContain(turn.error?.tag)
    await expectFresh(session)
  })

  it("that nests deeper than anybody can follow is replaced, and said so", async () => {
    const session = await open(framing)
    expect(await session.ask({ method: "deep", params: { levels: 100_000 } })).toMatchObject({
      status: "failed",
      error: { tag: "ProtocolBroken", message: expect.stringContaining("512 levels") },
    })
    await expectFresh(session)
  })

  it("that floods its client is recorded whole, in order", async () => {
    const session = await open(framing, { limits: { transcriptEntries: 50_000 } })
    expect(await session.ask({ method: "flood", params: { messages: 20_000 } })).toMatchObject({ text: "20000" })
    const numbers = (await session.natives()).flatMap((message) => {
      const { method, params } = message as { readonly method?: string; readonly params?: { readonly n: number } }
      return method === "tick" ? [params!.n] : []
    })
    expect(numbers).toEqual(Array.from({ length: 20_000 }, (_, index) => index + 1))
  })

  it("gives up a request that is cancelled, and lives on", async () => {
    const session = await open(framing)
    const hung = await runtime.tell(session.name, '{"method": "hang"}')
    await eventually("it runs", async () => (await runtime.turn(hung.id)).status === "running")
    expect(await runtime.cancel(session.name)).toMatchObject({ id: hung.id, status: "cancelled" })
    await expectSame(session)
  })

  it("asks its clients, and is answered by them, by a rule, or by the end of its turn", async () => {
    const rules = [
      { tool: "allowed/*", decision: "allow" as const },
      { tool: "denied", decision: "deny" as const },
    ]
    const session = await open(framing, { permissions: { rules } })
    const asks = (method: string) => ({ method: "ask", params: { method, params: { why: 1 } } })
    expect(await session.ask(asks("allowed/it"))).toMatchObject({ text: '{"jsonrpc":"2.0","result":null}' })
    expect(JSON.parse((await session.ask(asks("denied"))).text)).toMatchObject({ error: { code: -32000 } })

    const open1 = await runtime.tell(session.name, JSON.stringify(asks("other")))
    await eventually("it asks", async () => (await runtime.get(session.name)).pendingRequests.length === 1)
    const [pending] = (await runtime.get(session.name)).pendingRequests
    expect(pending).toMatchObject({ tool: "other", input: { why: 1 }, turn: open1.id })
    await runtime.answer(session.name, pending!.request, "allow")
    expect((await runtime.wait(open1.id)).text).toBe('{"jsonrpc":"2.0","result":null}')

    await runtime.tell(session.name, JSON.stringify(asks("other")))
    await eventually("it asks again", async () => (await runtime.get(session.name)).pendingRequests.length === 1)
    expect(await runtime.cancel(session.name)).toMatchObject({ status: "cancelled" })
    expect((await runtime.get(session.name)).pendingRequests).toEqual([])
    await expectSame(session)
  })
})

describe("a child that speaks JSON-RPC", () => {
  it("that hears no cancel is replaced", async () => {
    const session = await open("lines")
    const hung = await runtime.tell(session.name, '{"method": "deaf"}')
    await eventually("it runs", async () => (await runtime.turn(hung.id)).status === "running")
    expect(await runtime.cancel(session.name)).toMatchObject({ status: "cancelled" })
    await expectFresh(session)
  })
})

describe("what a JSON-RPC child asks", () => {
  it("is answered with the result that a client gives, also outside of any turn", async () => {
    const root = mkdtempSync(join(tmpdir(), "creche-rpc-"))
    const served = new ServedRuntime(root)
    try {
      const client = await served.connect()
      const session = "asks"
      await client.start({ name: session, command: process.execPath, args: [server, "lines"], protocol: "jsonrpc" })
      const prompt = (value: object) => ({ session, prompt: JSON.stringify(value) })
      const pending = async () => (await client.request("session/get", { session })).pendingRequests
      const answerTo = async (tool: string, result: { readonly [field: string]: string }) => {
        await eventually(`it asks for ${tool}`, async () => (await pending()).length === 1)
        const [asked] = await pending()
        expect(asked).toMatchObject({ tool })
        await client.request("session/answer", { session, request: asked!.request, outcome: "allow", result })
        return asked!
      }
      const turn = await client.tell(prompt({ method: "ask", params: { method: "colour" } }))
      expect(await answerTo("colour", { colour: "red" })).toMatchObject({ turn: turn.id })
      expect((await client.request("turn/wait", { turn: turn.id })).text).toBe(
        '{"jsonrpc":"2.0","result":{"colour":"red"}}',
      )
      await client.ask(prompt({ method: "wonder", params: { why: 1 }, notify: true }))
      await eventually("it wonders", async () => (await pending()).length === 1)
      // It waits, and keeps nobody else from asking.
      expect(await client.ask(prompt({ method: "count" }))).toMatchObject({ status: "completed", text: "1" })
      expect(await answerTo("wonder/about", { because: "of it" })).toMatchObject({ turn: null, input: { why: 1 } })
      await eventually("it was told", async () => {
        for await (const entry of client.transcript({ session })) {
          if (entry.type === "native" && JSON.stringify(entry.message).includes('"because":"of it"')) return true
        }
        return false
      })
      await client.request("runtime/shutdown", {})
      await client.close()
    } finally {
      await served.kill("SIGTERM")
      rmSync(root, { recursive: true, force: true, maxRetries: 5 })
    }
  })
})

describe("a child whose Content-Length is not what follows", () => {
  it.each([
    ["half of a message before the next", { method: "half", params: { after: "stay" } }],
    ["too short a length", { method: "wrong", params: { by: -7 } }],
    ["too great a length", { method: "wrong", params: { by: 7 } }],
    ["a length that is none", { method: "header", params: { header: "Content-Length: many" } }],
    ["another header alone", { method: "header", params: { header: "Content-Type: json" } }],
  ])("is replaced at once, and said so: %s", async (_, prompt) => {
    const session = await open("contentLength")
    const turn = await session.ask(prompt)
    expect(turn).toMatchObject({ status: "failed", error: { tag: "ProtocolBroken" } })
    expect((await session.notes()).join("\n")).toMatch(/Content-Length/)
    await expectFresh(session)
  })

  it("says lines instead, and never gets ready, but its transcript shows why", async () => {
    const started = runtime.start({
      name: "wrong-framing",
      // It must have spoken within its second, also on a busy machine: a shell starts faster than a Node.
      command: "sh",
      args: ["-c", "while :; do echo 'hello, I speak lines'; sleep 0.02; done"],
      protocol: "lsp",
      readyTimeoutMs: 1_000,
      restart: "temporary",
    })
    const output = (async () => {
      for await (const entry of runtime.subscribe({})) {
        if (entry.type === "output" && entry.data.includes("hello, I speak lines")) return entry.data
      }
      return ""
    })()
    await expect(started).rejects.toMatchObject({ _tag: "NotReady" })
    expect(await output).toContain("hello, I speak lines\n")
  })
})

describe("an LSP child", () => {
  it("shakes hands, answers, cancels and stops", async () => {
    const session = await open("contentLength", { protocol: "lsp" })
    expect(await session.ask({ method: "echo", params: { a: 1 } })).toMatchObject({ text: '{"a":1}' })
    const configured = await session.ask({
      method: "ask",
      params: { method: "workspace/configuration", params: { items: [{}, {}] } },
    })
    expect(JSON.parse(configured.text)).toMatchObject({ result: [null, null] })
    const hung = await runtime.tell(session.name, '{"method": "hang"}')
    await eventually("it runs", async () => (await runtime.turn(hung.id)).status === "running")
    expect(await runtime.cancel(session.name)).toMatchObject({ status: "cancelled" })
    await expectSame(session)
    expect((await runtime.stop(session.name)).status).toBe("stopped")
    expect(isGone(session.pid)).toBe(true)
  })

  it("is greeted again after a kill and after a suspension", async () => {
    const session = await open("contentLength", { protocol: "lsp", restart: "permanent" })
    const hung = await runtime.tell(session.name, '{"method": "hang"}')
    await eventually("it runs", async () => (await runtime.turn(hung.id)).status === "running")
    process.kill(session.pid, "SIGKILL")
    expect(await runtime.wait(hung.id, 20_000)).toMatchObject({ status: "failed", error: { tag: "ProcessExited" } })
    await expectFresh(session)
    await runtime.suspend(session.name)
    expect(await session.ask({ method: "count" })).toMatchObject({ status: "completed", text: "1" })
    const greeted = (await session.natives()).filter((message) => JSON.stringify(message).includes("serverInfo"))
    expect(greeted).toHaveLength(3)
  })

  it("that is asked something else than it speaks fails its start with the reason", async () => {
    const refused = runtime.start({
      name: "refused",
      command: process.execPath,
      args: [server, "lines"],
      protocol: { type: "jsonrpc", handshake: { request: { method: "hello" } } },
    })
    await expect(refused).rejects.toMatchObject({
      _tag: "NotReady",
      detail: "it refused the handshake: Method not found (-32601)",
    })
  })
})

describe("an MCP child", () => {
  it("lists and calls its tools, tells how far it is, and gives up a call that is cancelled", async () => {
    const session = await open("lines", { protocol: "mcp" })
    expect(await session.ask({ method: "tools/list" })).toMatchObject({ text: '{"tools":[{"name":"upper"}]}' })
    expect(await session.ask({ tool: "upper", arguments: { text: "straße" } })).toMatchObject({ text: "STRASSE" })
    expect(await session.ask({ tool: "bad" })).toMatchObject({
      status: "failed",
      error: { tag: "ToolError", message: "it went wrong" },
    })
    expect(await session.natives()).toContainEqual({
      jsonrpc: "2.0",
      method: "notifications/progress",
      params: { progressToken: 3, progress: 1 },
    })
    const hung = await runtime.tell(session.name, '{"tool": "hang"}')
    await eventually("it runs", async () => (await runtime.turn(hung.id)).status === "running")
    expect(await runtime.cancel(session.name)).toMatchObject({ status: "cancelled", text: "" })
    await expectSame(session)
    const asked = await session.ask({ method: "ask", params: { method: "roots/list" } })
    expect(JSON.parse(asked.text)).toMatchObject({ error: { code: -32601 } })
  })
})
