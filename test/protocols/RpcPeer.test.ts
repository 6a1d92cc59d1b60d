import { describe, expect, it } from "vitest"
import { failure, makePeer, notification, receive, request, result } from "../../src/protocols/RpcPeer.ts"

describe("a peer of a JSON-RPC conversation", () => {
  it("knows what an answer belongs to, once", () => {
    const asked = request(makePeer<string>(), "initialize", { a: 1 }, "hello")
    expect(JSON.parse(asked.text)).toEqual({ jsonrpc: "2.0", id: 1, method: "initialize", params: { a: 1 } })
    const answer = receive(asked.peer, '{"id":1,"result":null}')
    expect(answer).toMatchObject({ type: "result", kind: "hello", result: null })
    if (answer.type !== "result") throw new Error("no result")
    expect(receive(answer.peer, '{"id":1,"result":null}')).toMatchObject({ type: "stray" })
    expect(receive(asked.peer, '{"id":"1","result":null}')).toMatchObject({ type: "stray" })
    expect(request(answer.peer, "next", undefined, "x").id).toBe(2)
  })

  it("makes a whole error of whatever came as one", () => {
    const { peer } = request(makePeer<string>(false), "m", undefined, "k")
    for (const [error, expected] of [
      [
        { code: 7, message: "no", data: 1 },
        { code: 7, message: "no", data: 1 },
      ],
      ["bad", { code: -32603, message: '"bad"' }],
      [{}, { code: -32603, message: "{}" }],
    ] as const) {
      expect(receive(peer, JSON.stringify({ id: 1, error }))).toMatchObject({
        type: "error",
        kind: "k",
        error: expected,
      })
    }
  })

  it("tells requests from notifications, and both from what is neither", () => {
    const peer = makePeer<string>()
    expect(receive(peer, '{"id":0,"method":"m","params":[1]}')).toEqual({
      type: "request",
      id: 0,
      method: "m",
      params: [1],
    })
    expect(receive(peer, '{"id":"a","method":"m"}')).toMatchObject({ type: "request", id: "a" })
    expect(receive(peer, '{"method":"m"}')).toMatchObject({ type: "notification" })
    for (const stray of ["", "{", "null", "7", "[]", "{}", '{"id":{},"method":"m"}', '{"id":9,"result":1}']) {
      expect(receive(peer, stray)).toMatchObject({ type: "stray" })
    }
  })

  it("leaves the mark out for those who do without", () => {
    const [marked, bare] = [makePeer(true), makePeer(false)]
    expect(JSON.parse(notification(marked, "initialized"))).toEqual({ jsonrpc: "2.0", method: "initialized" })
    expect(JSON.parse(notification(bare, "initialized", {}))).toEqual({ method: "initialized", params: {} })
    expect(JSON.parse(result(bare, 0, undefined))).toEqual({ id: 0, result: null })
    expect(JSON.parse(failure(marked, "a", { code: 1, message: "m" }))).toEqual({
      jsonrpc: "2.0",
      id: "a",
      error: { code: 1, message: "m" },
    })
  })
})
