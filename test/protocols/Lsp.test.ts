import { describe, expect, it } from "vitest"
import { lspCapabilities, makeLsp } from "../../src/protocols/Lsp.ts"
import { talking } from "./JsonRpcSteps.ts"

const ready = () => {
  const server = talking(makeLsp())
  server.start()
  server.says({ jsonrpc: "2.0", id: 1, result: { capabilities: {} } })
  return server
}

describe("the handshake with a language server", () => {
  it("initializes it at the session's directory, and is ready when that is answered", () => {
    const server = talking(makeLsp())
    expect(server.start("/place/of work")).toEqual({
      events: [],
      sent: [
        {
          jsonrpc: "2.0",
          id: 1,
          method: "initialize",
          params: {
            processId: null,
            clientInfo: { name: "creche" },
            rootPath: "/place/of work",
            rootUri: "file:///place/of%20work",
            workspaceFolders: [{ uri: "file:///place/of%20work", name: "of work" }],
            capabilities: lspCapabilities,
          },
        },
      ],
    })
    expect(server.says({ jsonrpc: "2.0", method: "window/logMessage", params: {} }).events).toMatchObject([
      { type: "native" },
    ])
    const { events, sent } = server.says({ jsonrpc: "2.0", id: 1, result: { capabilities: {} } })
    expect(events).toMatchObject([{ type: "native", message: { id: 1 } }, { type: "ready" }])
    expect(sent).toEqual([{ jsonrpc: "2.0", method: "initialized", params: {} }])
  })

  it("says what the options say instead", () => {
    const server = talking(
      makeLsp({ rootPath: "../other", capabilities: { window: {} }, initializationOptions: [null] }),
    )
    expect(server.start("/a/b").sent[0]!["params"]).toMatchObject({
      rootUri: "file:///a/other",
      capabilities: { window: {} },
      initializationOptions: [null],
    })
    const elsewhere = talking(makeLsp({ rootPath: "/" }))
    expect(elsewhere.start("/a/b").sent[0]!["params"]).toMatchObject({
      workspaceFolders: [{ uri: "file:///", name: "/" }],
    })
  })

  it("breaks the session where it is refused", () => {
    const server = talking(makeLsp())
    server.start()
    expect(server.says({ id: 1, error: { code: -32002, message: "no" } }).events.at(-1)).toMatchObject({
      type: "broken",
    })
  })
})

describe("a language server's own requests", () => {
  it.each([
    ["workspace/configuration", { items: [{ section: "a" }, {}] }, [null, null]],
    ["workspace/configuration", undefined, []],
    ["client/registerCapability", { registrations: [] }, null],
    ["client/unregisterCapability", {}, null],
    ["window/workDoneProgress/create", { token: 1 }, null],
    ["workspace/applyEdit", { edit: {} }, { applied: false, failureReason: "no editor is connected" }],
    ["window/showDocument", { uri: "x" }, { success: false }],
    ["workspace/workspaceFolders", undefined, [{ uri: "file:///place/of%20work", name: "of work" }]],
    ["workspace/semanticTokens/refresh", undefined, null],
  ])("get the answer that does nothing, and are shown: %s", (method, params, result) => {
    const message = { jsonrpc: "2.0", id: 0, method, ...(params === undefined ? {} : { params }) }
    expect(ready().says(message)).toEqual({
      events: [{ type: "native", message }],
      sent: [{ jsonrpc: "2.0", id: 0, result }],
    })
  })

  it("are offered to clients where there is no such answer", () => {
    const server = ready()
    const params = { type: 3, message: "Go on?", actions: [{ title: "Yes" }] }
    const { events, sent } = server.says({ jsonrpc: "2.0", id: 0, method: "window/showMessageRequest", params })
    expect(events).toMatchObject([{ type: "permission", tool: "window/showMessageRequest", input: params }])
    expect(sent).toEqual([])
    expect(server.answer("0", "result", { title: "Yes" }).sent).toMatchObject([{ id: 0, result: { title: "Yes" } }])
  })
})

describe("a request to a language server", () => {
  it("is taken back by $/cancelRequest, and over when the server says so or answers all the same", () => {
    for (const answer of [{ error: { code: -32800, message: "cancelled" } }, { result: [1] }]) {
      const server = ready()
      server.prompt({ method: "textDocument/hover", params: {} })
      expect(server.cancel()).toEqual({
        events: [],
        sent: [{ jsonrpc: "2.0", method: "$/cancelRequest", params: { id: 2 } }],
      })
      const text = "result" in answer ? "[1]" : ""
      expect(server.says({ jsonrpc: "2.0", id: 2, ...answer }).events).toEqual([
        { type: "ended", status: "cancelled", text, stopReason: "cancelled" },
      ])
    }
  })

  it("is followed by shutdown, and by exit once that is answered, when the server is to end", () => {
    const server = ready()
    expect(server.politeStop()).toEqual([
      { sent: [{ jsonrpc: "2.0", id: 2, method: "shutdown" }], until: "settled" },
      { sent: [{ jsonrpc: "2.0", method: "exit" }], until: "exit" },
    ])
    expect(server.says({ jsonrpc: "2.0", id: 2, result: null }).events).toEqual([{ type: "settled" }])
  })

  it("that has not answered initialize is told nothing else, only signalled", () => {
    const server = talking(makeLsp())
    server.start()
    expect(server.politeStop()).toEqual([])
  })
})
