import { describe, expect, it } from "vitest"
import type { McpOptions } from "../../src/domain/ProtocolSpec.ts"
import { makeMcp } from "../../src/protocols/Mcp.ts"
import { talking } from "./JsonRpcSteps.ts"

const ready = (options: McpOptions = {}) => {
  const server = talking(makeMcp(options))
  server.start()
  server.says({ jsonrpc: "2.0", id: 1, result: { protocolVersion: "2025-11-25", capabilities: {} } })
  return server
}
const result = (id: number, value: object) => ({ jsonrpc: "2.0", id, result: value })
const text = (...texts: ReadonlyArray<string>) => texts.map((each) => ({ type: "text", text: each }))

describe("the handshake with an MCP server", () => {
  it("is ready once initialize is answered", () => {
    const server = talking(makeMcp())
    expect(server.start().sent).toEqual([
      {
        jsonrpc: "2.0",
        id: 1,
        method: "initialize",
        params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "creche", version: "1" } },
      },
    ])
    const { events, sent } = server.says(result(1, { protocolVersion: "2024-11-05" }))
    expect(events).toMatchObject([{ type: "native", message: { id: 1 } }, { type: "ready" }])
    expect(sent).toEqual([{ jsonrpc: "2.0", method: "notifications/initialized" }])
  })

  it("says what the options say instead", () => {
    const options = {
      protocolVersion: "2024-11-05",
      capabilities: { roots: {} },
      clientInfo: { name: "other", version: "7" },
    }
    expect(talking(makeMcp(options)).start().sent).toMatchObject([{ params: options }])
  })
})

describe("a turn with an MCP server", () => {
  it("is a request as it stands, its text the JSON of the result", () => {
    const server = ready()
    expect(server.prompt({ method: "tools/list" }).sent).toEqual([{ jsonrpc: "2.0", id: 2, method: "tools/list" }])
    expect(server.says(result(2, { tools: [] })).events).toMatchObject([{ type: "ended", text: '{"tools":[]}' }])
  })

  it("is a call of a tool in short, answered with its texts, the whole result being native", () => {
    const server = ready()
    expect(server.prompt({ tool: "add", arguments: { a: 1 } }).sent).toEqual([
      {
        jsonrpc: "2.0",
        id: 2,
        method: "tools/call",
        params: { name: "add", arguments: { a: 1 }, _meta: { progressToken: 2 } },
      },
    ])
    const content = [...text("one"), { type: "image", data: "", mimeType: "image/png" }, ...text("two")]
    expect(server.says(result(2, { content })).events).toEqual([
      { type: "native", message: result(2, { content }) },
      { type: "ended", status: "completed", text: "one\ntwo", stopReason: "end_turn" },
    ])
    expect(server.prompt({ tool: "now" }).sent).toMatchObject([{ id: 3, params: { name: "now", arguments: {} } }])
    expect(server.says(result(3, {})).events).toMatchObject([{ type: "native" }, { status: "completed", text: "" }])
  })

  it("fails where the tool reports an error, however it was called", () => {
    const server = ready()
    server.prompt({ tool: "add" })
    expect(server.says(result(2, { isError: true, content: text("no number") })).events).toMatchObject([
      { type: "native" },
      { status: "failed", text: "no number", error: { tag: "ToolError", message: "no number", tool: "add" } },
    ])
    server.prompt({ method: "tools/call", params: { name: "add" } })
    expect(server.says(result(3, { isError: true })).events).toMatchObject([
      { status: "failed", error: { tag: "ToolError", message: 'the tool "add" reported an error' } },
    ])
    server.prompt({ method: "prompts/get", params: { name: "p" } })
    expect(server.says(result(4, { isError: true })).events).toMatchObject([{ status: "completed" }])
  })

  it.each([
    ["add 1 and 2", "must be JSON"],
    ["{}", "must be"],
    ['{"tool": ""}', "name of a tool"],
    ['{"tool": "add", "arguments": [1]}', '"arguments" must be an object'],
    ['{"tool": "add", "args": {}}', '"args": no such field'],
    ['{"method": "tools/list", "arguments": {}}', '"arguments": no such field'],
  ])("is refused without a word to the server: %j, %s", (prompt, reason) => {
    const { events, sent } = ready().prompt(prompt)
    expect(sent).toEqual([])
    expect(events).toMatchObject([{ status: "failed", error: { tag: "InvalidPrompt" } }])
    expect(events[0]).toHaveProperty("error.message", expect.stringContaining(reason))
  })

  it("is over, once cancelled, when the server shows that it lives; a late answer is no more than a message", () => {
    const server = ready()
    server.prompt({ tool: "slow" })
    expect(server.cancel()).toEqual({
      events: [],
      sent: [
        { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 2 } },
        { jsonrpc: "2.0", id: 3, method: "ping" },
      ],
    })
    expect(server.says(result(3, {})).events).toEqual([
      { type: "ended", status: "cancelled", text: "", stopReason: "cancelled" },
    ])
    server.prompt({ tool: "next" })
    expect(server.says(result(2, { content: text("late") })).events).toMatchObject([{ type: "native" }])
    expect(server.says(result(4, { content: text("next") })).events.at(-1)).toMatchObject({ text: "next" })
  })

  it("is over, once cancelled, also where the answer was on its way, or ping is unknown", () => {
    const server = ready()
    server.prompt({ tool: "quick" })
    server.cancel()
    expect(server.says(result(2, { content: text("done") })).events.at(-1)).toMatchObject({
      type: "ended",
      status: "cancelled",
      text: "done",
    })
    server.prompt({ tool: "next" })
    expect(server.says({ id: 3, error: { code: -32601, message: "what?" } }).events).toEqual([])
    server.cancel()
    expect(server.says({ id: 5, error: { code: -32601, message: "what?" } }).events).toMatchObject([
      { status: "cancelled" },
    ])
  })
})

describe("what an MCP server asks", () => {
  const request = (method: string) => ({ jsonrpc: "2.0", id: 0, method, params: {} })

  it("is answered in silence for a ping, and shown for progress", () => {
    const server = ready()
    expect(server.says(request("ping"))).toEqual({ events: [], sent: [{ jsonrpc: "2.0", id: 0, result: {} }] })
    const progress = { jsonrpc: "2.0", method: "notifications/progress", params: { progressToken: 2, progress: 1 } }
    expect(server.says(progress).events).toEqual([{ type: "native", message: progress }])
  })

  it.each(["sampling/createMessage", "elicitation/create", "roots/list"])(
    "is refused where no capability was declared, and offered where it was: %s",
    (method) => {
      expect(ready().says(request(method))).toMatchObject({
        events: [{ type: "native" }],
        sent: [{ id: 0, error: { code: -32601 } }],
      })
      const server = ready({ capabilities: { sampling: {}, elicitation: {}, roots: {} } })
      expect(server.says(request(method))).toMatchObject({ events: [{ type: "permission", tool: method }], sent: [] })
      expect(server.answer("0", "result", { own: 1 }).sent).toMatchObject([{ id: 0, result: { own: 1 } }])
    },
  )

  it.each([
    ["sampling/createMessage", { result: null }, { error: { code: -1 } }],
    ["elicitation/create", { result: { action: "accept", content: {} } }, { result: { action: "decline" } }],
    ["roots/list", { result: { roots: [] } }, { error: { code: -32000 } }],
    ["other/thing", { result: null }, { error: { code: -32000 } }],
  ])("has its own consent and refusal: %s", (method, consent, refusal) => {
    const server = ready({ capabilities: { sampling: {}, elicitation: {}, roots: {} } })
    server.says(request(method))
    expect(server.answer("0", "result").sent).toMatchObject([consent])
    server.says(request(method))
    expect(server.answer("0", "reject").sent).toMatchObject([refusal])
  })

  it("is taken back by the server, which then wants no answer", () => {
    const server = ready({ capabilities: { sampling: {} } })
    server.says(request("sampling/createMessage"))
    const cancelled = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 0 } }
    const { events, sent } = server.says(cancelled)
    expect(events).toMatchObject([{ type: "native" }, { type: "permissionWithdrawn", request: "0" }])
    expect(sent).toEqual([])
  })
})
