import { readFileSync } from "node:fs"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { JsonRpcOptions } from "../../src/domain/ProtocolSpec.ts"
import { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { strictDecoder } from "../../src/domain/StrictDecoder.ts"
import { makeJsonRpc } from "../../src/protocols/JsonRpc.ts"
import { mostRequests } from "../../src/protocols/JsonRpcRequests.ts"
import { deepestMessage } from "../../src/protocols/JsonRpcMessage.ts"
import { talking } from "./JsonRpcSteps.ts"
import { seed } from "./steps.ts"

const started = (options: JsonRpcOptions = {}) => {
  const child = talking(makeJsonRpc(options))
  child.start()
  return child
}
const asked = (options: JsonRpcOptions = {}) => {
  const child = started(options)
  child.prompt({ method: "sum", params: [1, 2] })
  return child
}
const options = { request: { method: "hello", params: { v: 1 } }, notify: { method: "welcome" } }

describe("a jsonrpc turn", () => {
  it("is a request, and its text the JSON of the result", () => {
    const child = started()
    expect(child.prompt({ method: "sum", params: [1, 2] })).toEqual({
      events: [],
      sent: [{ jsonrpc: "2.0", id: 1, method: "sum", params: [1, 2] }],
    })
    expect(child.says({ jsonrpc: "2.0", id: 1, result: { sum: 3 } }).events).toEqual([
      { type: "ended", status: "completed", text: '{"sum":3}', stopReason: "end_turn" },
    ])
    expect(child.prompt({ method: "next" }).sent).toEqual([{ jsonrpc: "2.0", id: 2, method: "next" }])
    expect(child.says({ jsonrpc: "2.0", id: 2 }).events).toMatchObject([{ status: "completed", text: "null" }])
  })

  it("takes its call from content blocks, and a whole message as what it asks", () => {
    const prompt = [{ type: "text" as const, text: '{"jsonrpc": "2.0", "id": 77, "method":' }]
    const child = started()
    expect(child.blocks([...prompt, { type: "text", text: '"sum"}' }]).sent).toEqual([
      { jsonrpc: "2.0", id: 1, method: "sum" },
    ])
  })

  it("fails with code, message and data of the error", () => {
    const error = { code: -32602, message: "bad", data: { at: [1] } }
    expect(asked().says({ jsonrpc: "2.0", id: 1, error }).events).toEqual([
      {
        type: "ended",
        status: "failed",
        text: "",
        stopReason: null,
        error: { tag: "RpcError", message: "sum: bad (-32602)", code: -32602, data: { at: [1] } },
      },
    ])
  })

  it("keeps every digit of what passes through", () => {
    const numbers = "[12345678901234567890,1.0000000000000000001,1e400,-0.5,1.5e3,9007199254740993]"
    const written = makeJsonRpc()
    const state = written.start({ from: null, freshId: "f", cwd: "/", now: 1, costUsd: null }).state
    const { events } = written.prompt(state, `{"method":"sum","params":${numbers}}`, "t", 1)
    const kept = numbers.replace("1.5e3", "1500")
    expect(events).toEqual([{ type: "write", data: `{"jsonrpc":"2.0","id":1,"method":"sum","params":${kept}}\n` }])
    expect(asked().frames(`{"id":1,"result":{"of":${numbers}}}`).events).toMatchObject([{ text: `{"of":${kept}}` }])
  })

  it("fails where the child could not even read it, and answers without an id", () => {
    const error = { code: -32700, message: "Parse error" }
    expect(asked().says({ jsonrpc: "2.0", id: null, error }).events).toMatchObject([
      { type: "native" },
      { type: "ended", status: "failed", error: { tag: "RpcError", code: -32700 } },
    ])
    expect(started().says({ jsonrpc: "2.0", id: null, error }).events).toMatchObject([{ type: "native" }])
    const hello = talking(makeJsonRpc({ handshake: options }))
    hello.start()
    expect(hello.says({ jsonrpc: "2.0", id: null, error }).events).toMatchObject([
      { type: "native" },
      { type: "broken", detail: expect.stringContaining("Parse error") },
    ])
  })

  it("is over at once where nothing comes back", () => {
    const child = started()
    expect(child.prompt({ method: "log", params: { a: 1 }, notify: true })).toEqual({
      events: [{ type: "ended", status: "completed", text: "", stopReason: "sent" }],
      sent: [{ jsonrpc: "2.0", method: "log", params: { a: 1 } }],
    })
    expect(child.prompt({ method: "sum", notify: false }).sent).toEqual([{ jsonrpc: "2.0", id: 1, method: "sum" }])
  })

  it.each([
    ["hello", "must be JSON"],
    ["", "must be JSON"],
    ['{"method": "sum"', "must be JSON"],
    ["[]", "must be a JSON object"],
    ["42", "must be a JSON object"],
    ["null", "must be a JSON object"],
    ["{}", '"method" is missing'],
    ['{"method": 3}', '"method" is missing'],
    ['{"method": ""}', '"method" is missing'],
    ['{"method": "sum", "params": 3}', '"params" must be'],
    ['{"method": "sum", "params": null}', '"params" must be'],
    ['{"method": "sum", "notify": "yes"}', '"notify" must be'],
    ['{"method": "sum", "parms": {}}', '"parms": no such field'],
  ])("is refused without a word to the child: %j, %s", (prompt, reason) => {
    const { events, sent } = started().prompt(prompt)
    expect(sent).toEqual([])
    expect(events).toMatchObject([{ type: "ended", status: "failed", text: "", error: { tag: "InvalidPrompt" } }])
    expect(events[0]).toHaveProperty("error.message", expect.stringContaining(reason))
  })

  it("is refused for a prompt that is nested too deep to be sent", () => {
    const deep = `{"method": "sum", "params": ${"[".repeat(3000)}${"]".repeat(3000)}}`
    expect(started().prompt(deep)).toMatchObject({ sent: [], events: [{ error: { tag: "InvalidPrompt" } }] })
  })

  it("never meets the answer to an earlier one", () => {
    const child = asked({ cancel: { method: "stop", params: ["{id}"], answered: false } })
    child.cancel()
    child.prompt({ method: "sum" })
    expect(child.says({ jsonrpc: "2.0", id: 1, result: "late" }).events).toEqual([
      { type: "native", message: { jsonrpc: "2.0", id: 1, result: "late" } },
    ])
    expect(child.says({ jsonrpc: "2.0", id: 2, result: "mine" }).events).toMatchObject([{ text: '"mine"' }])
    expect(child.says({ jsonrpc: "2.0", id: 2, result: "again" }).events).toMatchObject([{ type: "native" }])
  })
})

describe("what a jsonrpc child says besides", () => {
  it("becomes native where it is a message, output where it is none, in order", () => {
    const child = asked()
    const lines = ["starting …", "", '{"method":"tick"}', '{"id":99,"result":1}', "17", '"x"', "{broken", "{}"]
    expect(child.frames(...lines, '{"id":1,"result":2}', "bye").events).toEqual([
      { type: "output", data: "starting …\n\n" },
      { type: "native", message: { method: "tick" } },
      { type: "native", message: { id: 99, result: 1 } },
      { type: "output", data: '17\n"x"\n{broken\n' },
      { type: "native", message: {} },
      { type: "ended", status: "completed", text: "2", stopReason: "end_turn" },
      { type: "output", data: "bye\n" },
    ])
  })

  it("may begin with a byte order mark", () => {
    expect(asked().frames('\uFEFF{"id":1,"result":12345678901234567890}').events).toMatchObject([
      { status: "completed", text: "12345678901234567890" },
    ])
  })

  it("may come in batches", () => {
    const batch = [{ method: "a" }, { jsonrpc: "2.0", id: 1, result: 1 }, 7, { jsonrpc: "2.0", id: "q", method: "b" }]
    expect(asked().says(batch).events).toMatchObject([
      { type: "native", message: { method: "a" } },
      { type: "ended", text: "1" },
      { type: "native", message: 7 },
      { type: "permission", request: "q", tool: "b" },
    ])
  })

  it("breaks it where a message is nested too deep to be written down", () => {
    const nested = (levels: number) => `{"id":1,"result":${"[".repeat(levels)}${"]".repeat(levels)}}`
    expect(asked().frames(nested(deepestMessage - 1)).events).toMatchObject([{ status: "completed" }])
    expect(asked().frames(nested(deepestMessage)).events).toMatchObject([{ type: "broken" }])
    expect(asked().frames(nested(200_000)).events).toMatchObject([{ type: "broken" }])
    const wide = JSON.stringify({ id: 1, result: Array.from({ length: 5000 }, (_, index) => ({ index })) })
    expect(asked().frames(wide).events).toMatchObject([{ status: "completed" }])
  })

  it("ends no turn but by its own answer, and never throws, whatever it is", () => {
    const piece = fc.oneof(
      fc.json(),
      fc.string(),
      fc
        .record(
          {
            jsonrpc: fc.constant("2.0"),
            id: fc.oneof(fc.integer({ min: -1, max: 3 }), fc.constantFrom("1", "a", null, {}, [])),
            method: fc.constantFrom("a", "$/cancelRequest", "", 3),
            params: fc.oneof(fc.jsonValue(), fc.record({ id: fc.constantFrom(0, 1, "1", "a") })),
            result: fc.jsonValue(),
            error: fc.oneof(fc.jsonValue(), fc.record({ code: fc.integer(), message: fc.string() })),
          },
          { requiredKeys: [] },
        )
        .map((message) => JSON.stringify(message)),
    )
    fc.assert(
      fc.property(fc.array(piece), (frames) => {
        const { events } = asked().frames(...frames)
        const own = frames.filter((frame) => {
          try {
            const messages: unknown = JSON.parse(frame)
            return (Array.isArray(messages) ? messages : [messages]).some(
              (message) =>
                (message?.id === 1 && typeof message.method !== "string") ||
                (message?.id === null &&
                  message.method === undefined &&
                  typeof message.error === "object" &&
                  message.error !== null),
            )
          } catch {
            return false
          }
        })
        expect(events.filter(({ type }) => type === "ended")).toHaveLength(Math.min(1, own.length))
      }),
      { seed },
    )
  })
})

describe("a request of a jsonrpc child", () => {
  const request = (id: unknown, method = "confirm") => ({ jsonrpc: "2.0", id, method, params: { what: "it" } })

  it("is offered to clients, and answered with their result", () => {
    const child = asked()
    expect(child.says(request(0)).events).toEqual([
      {
        type: "permission",
        request: "0",
        tool: "confirm",
        input: { what: "it" },
        options: [
          { id: "result", name: "Answer it, with a result", kind: "allow_once" },
          { id: "reject", name: "Refuse it", kind: "reject_once" },
        ],
      },
    ])
    expect(child.answer("0", "result", { yes: true }).sent).toEqual([{ jsonrpc: "2.0", id: 0, result: { yes: true } }])
    expect(child.answer("0", "result", "again")).toEqual({ events: [], sent: [] })
  })

  it("is answered with null where a client allows it and says no more, with -32000 where it is refused", () => {
    const child = asked()
    child.says(request("a"), request("b"))
    expect(child.answer("a", "result").sent).toEqual([{ jsonrpc: "2.0", id: "a", result: null }])
    expect(child.answer("b", "reject").sent).toMatchObject([{ id: "b", error: { code: -32000 } }])
  })

  it('keeps 1 and "1" apart, and one whose id is taken is no more than a message', () => {
    const child = asked()
    expect(child.says(request(1), request("1"), request(1)).events).toMatchObject([
      { type: "permission", request: "1" },
      { type: "permission", request: '"1"' },
      { type: "native", message: { id: 1 } },
    ])
    expect(child.answer('"1"', "result").sent).toMatchObject([{ id: "1" }])
    expect(child.answer("1", "result").sent).toMatchObject([{ id: 1 }])
  })

  it("is refused when the turn that it came in ends; one from before it is not", () => {
    const child = started()
    child.says(request("early"))
    child.prompt({ method: "sum" })
    child.says(request("within"))
    const { events, sent } = child.says({ id: 1, result: 3 })
    expect(events.map((event) => (event.type === "permissionWithdrawn" ? event.request : event.type))).toEqual([
      "within",
      "ended",
    ])
    expect(sent).toMatchObject([{ id: "within", error: { code: -32000 } }])
    expect(child.answer("within", "result")).toEqual({ events: [], sent: [] })
    expect(child.answer("early", "result").sent).toMatchObject([{ id: "early", result: null }])
  })

  it("is taken back by $/cancelRequest, which gets its answer", () => {
    const child = asked()
    child.says(request(5))
    const { events, sent } = child.says({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id: 5 } })
    expect(events).toMatchObject([{ type: "native" }, { type: "permissionWithdrawn", request: "5" }])
    expect(sent).toMatchObject([{ id: 5, error: { code: -32800 } }])
    expect(child.says({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id: 5 } }).sent).toEqual([])
    expect(child.says({ jsonrpc: "2.0", method: "$/cancelRequest" }).sent).toEqual([])
  })

  it("is refused at once where too many wait", () => {
    const child = asked()
    const many = Array.from({ length: mostRequests }, (_, id) => request(id))
    expect(child.says(...many).sent).toEqual([])
    const one = child.says(request("more"))
    expect(one.events).toMatchObject([{ type: "native", message: { id: "more" } }])
    expect(one.sent).toMatchObject([{ id: "more", error: { code: -32000 } }])
    child.answer("0", "reject")
    expect(child.says(request("now")).events).toMatchObject([{ type: "permission" }])
  })
})

describe("a frame of a jsonrpc child with Content-Length", () => {
  it("breaks it where it is half a message, and is output where it stands between messages", () => {
    const child = asked({ framing: "contentLength" })
    expect(child.frames("[info] listening", '{"method":"tick"}').events).toEqual([
      { type: "output", data: "[info] listening\n" },
      { type: "native", message: { method: "tick" } },
    ])
    const half = `{"jsonrpc":"2.0","id":1,"result":"${"x".repeat(5000)}`
    expect(child.frames(half, '{"id":1}').events).toEqual([
      { type: "output", data: half.slice(0, 1000) + " …\n" },
      { type: "broken", detail: expect.stringContaining("no JSON") },
    ])
  })
})

describe("the options of jsonrpc", () => {
  it("shake hands before it is ready, and break it where that is refused", () => {
    const child = talking(makeJsonRpc({ handshake: options }))
    expect(child.start()).toEqual({
      events: [],
      sent: [{ jsonrpc: "2.0", id: 1, method: "hello", params: { v: 1 } }],
    })
    expect(child.says({ method: "log" }).events).toMatchObject([{ type: "native" }])
    const { events, sent } = child.says({ id: 1, result: { name: "x" } })
    expect(events).toMatchObject([{ type: "native", message: { id: 1 } }, { type: "ready" }])
    expect(sent).toEqual([{ jsonrpc: "2.0", method: "welcome" }])
    const refused = talking(makeJsonRpc({ handshake: options }))
    refused.start()
    expect(refused.says({ id: 1, error: { code: -1, message: "too old" } }).events).toMatchObject([
      { type: "native" },
      { type: "broken", detail: "it refused the handshake: too old (-1)" },
    ])
  })

  it("leave the version out, and frame by Content-Length", () => {
    const written = makeJsonRpc({ version: false, framing: "contentLength" })
    expect(written.framing).toBe("contentLength")
    const state = written.start({ from: null, freshId: "f", cwd: "/", now: 1, costUsd: null }).state
    const text = '{"id":1,"method":"grüße"}'
    expect(written.prompt(state, '{"method":"grüße"}', "t", 1).events).toEqual([
      { type: "write", data: `Content-Length: ${text.length + 2}\r\n\r\n${text}` },
    ])
  })

  it("take a request back, which then gets its answer", () => {
    const child = asked({ cancel: { method: "$/cancelRequest", params: { id: "{id}", why: "no {id} any more" } } })
    child.says({ id: "q", method: "confirm" })
    const { events, sent } = child.cancel()
    expect(events).toEqual([{ type: "permissionWithdrawn", request: "q" }])
    expect(sent).toMatchObject([
      { id: "q", error: { code: -32000 } },
      { method: "$/cancelRequest", params: { id: 1, why: "no 1 any more" } },
    ])
    expect(child.cancel()).toEqual({ events: [], sent: [] })
    expect(child.says({ id: 1, error: { code: -32800, message: "cancelled" } }).events).toEqual([
      { type: "ended", status: "cancelled", text: "", stopReason: "cancelled" },
    ])
  })

  it("end the turn with the cancel where no answer comes to it", () => {
    const child = asked({ cancel: { method: "stop", params: ["{id}"], answered: false } })
    const { events, sent } = child.cancel()
    expect(sent).toEqual([{ jsonrpc: "2.0", method: "stop", params: [1] }])
    expect(events).toMatchObject([{ type: "ended", status: "cancelled" }])
  })

  it("have no way to cancel by default, and none to stop politely", () => {
    expect(makeJsonRpc()).not.toHaveProperty("cancel")
    expect(makeJsonRpc()).not.toHaveProperty("politeStop")
  })

  const decode = strictDecoder(SessionSpecInput).decode
  it("are taken as docs/servers.md shows them", () => {
    const docs = readFileSync(new URL("../../docs/servers.md", import.meta.url), "utf8")
    const shown = [...docs.matchAll(/^```json\n([^]*?)^```$/gm)].map(([, json]) => JSON.parse(json!) as object)
    expect(shown.map((protocol) => decode({ command: "x", protocol })._tag)).toEqual(["Valid", "Valid", "Valid"])
  })

  it.each([
    [{ type: "jsonrpc", framing: "header" }, "protocol.framing"],
    [{ type: "jsonrpc", handshake: {} }, "protocol.handshake.request"],
    [{ type: "jsonrpc", handshake: { request: { method: "" } } }, "protocol.handshake.request.method"],
    [{ type: "jsonrpc", handshake: { request: { method: "a", params: 3 } } }, "protocol.handshake.request.params"],
    [{ type: "jsonrpc", cancel: { method: "stop" } }, "protocol.cancel"],
    [{ type: "jsonrpc", cancel: { method: "stop", params: { id: 1 } } }, "protocol.cancel"],
    [{ type: "jsonrpc", version: "2.0" }, "protocol.version"],
    [{ type: "jsonrpc", frame: "lines" }, "protocol.frame"],
    [{ type: "lsp", rootPath: "" }, "protocol.rootPath"],
    [{ type: "lsp", capabilities: [] }, "protocol.capabilities"],
    [{ type: "mcp", clientInfo: { name: "x" } }, "protocol.clientInfo.version"],
    [{ type: "mcp", protocolVersion: 3 }, "protocol.protocolVersion"],
  ])("are refused by their path where they are wrong: %j", (protocol, path) => {
    const decoded = decode({ command: "x", protocol })
    if (decoded._tag !== "Wrong") throw new Error("it was taken")
    expect(decoded.problems.map((problem) => problem.path.join("."))).toEqual([path])
    expect(decoded.problems[0]!.message).toMatch(/must|is required|not a known/)
  })
})
