import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { Dispatcher, type Method, type Peer } from "../../src/transport/Dispatcher.ts"
import type { Outgoing } from "../../src/transport/JsonRpc.ts"

// The server that the specification's examples are about.
const numbers = (params: unknown): Array<number> => params as Array<number>
const method = (run: (params: any) => Effect.Effect<unknown>): Method => ({
  decode: (params) => params,
  run,
  waits: false,
})
const notified: Array<unknown> = []
const methods = new Map<string, Method>([
  [
    "subtract",
    method((params) =>
      Effect.sync(() => (Array.isArray(params) ? params[0] - params[1] : params.minuend - params.subtrahend)),
    ),
  ],
  ["sum", method((params) => Effect.sync(() => numbers(params).reduce((a, b) => a + b, 0)))],
  ["get_data", method(() => Effect.succeed(["hello", 5]))],
  ["later", method((value) => Effect.delay(Effect.succeed(value), 5))],
  ...["update", "notify_hello", "notify_sum"].map(
    (name) => [name, method((params) => Effect.sync(() => notified.push([name, params])))] as const,
  ),
])
const peer: Peer = { notify: () => {}, room: Effect.void, subscriptions: new Map() }

const talk = (text: string): ReadonlyArray<Outgoing> => {
  const sent: Array<Outgoing> = []
  const dispatcher = new Dispatcher({
    methods,
    services: Context.empty(),
    peer,
    send: (message) => sent.push(JSON.parse(JSON.stringify(message))),
  })
  dispatcher.receive(text)
  return sent
}

/** An error's `data` is the server's own to define; the examples have none. */
const bare = (message: any): any => {
  if (Array.isArray(message)) return message.map(bare)
  if (message.error === undefined) return message
  const { data: _, ...error } = message.error
  return { ...message, error }
}

/** Each example of section 7 of the specification: what is sent, what is answered (undefined: nothing). */
const examples: ReadonlyArray<readonly [title: string, sent: string, answered: string | undefined]> = [
  [
    "positional parameters",
    '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
    '{"jsonrpc": "2.0", "result": 19, "id": 1}',
  ],
  [
    "positional parameters, the other way round",
    '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
    '{"jsonrpc": "2.0", "result": -19, "id": 2}',
  ],
  [
    "named parameters",
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
    '{"jsonrpc": "2.0", "result": 19, "id": 3}',
  ],
  [
    "named parameters in another order",
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
    '{"jsonrpc": "2.0", "result": 19, "id": 4}',
  ],
  ["a notification", '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', undefined],
  ["a notification of an unknown method", '{"jsonrpc": "2.0", "method": "foobar"}', undefined],
  [
    "a call of an unknown method",
    '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
    '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
  ],
  [
    "invalid JSON",
    '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
    '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
  ],
  [
    "an invalid request object",
    '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
    '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}',
  ],
  [
    "a batch of invalid JSON",
    '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"}, {"jsonrpc": "2.0", "method"]',
    '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}',
  ],
  ["an empty array", "[]", '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'],
  [
    "an invalid batch that is not empty",
    "[1]",
    '[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]',
  ],
  [
    "an invalid batch of three",
    "[1,2,3]",
    `[{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}]`,
  ],
  [
    "a batch",
    `[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
      {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
      {"foo": "boo"},
      {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
      {"jsonrpc": "2.0", "method": "get_data", "id": "9"}]`,
    `[{"jsonrpc": "2.0", "result": 7, "id": "1"},
      {"jsonrpc": "2.0", "result": 19, "id": "2"},
      {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
      {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
      {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}]`,
  ],
  [
    "a batch of notifications",
    `[{"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
      {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}]`,
    undefined,
  ],
]

describe("the examples of the JSON-RPC 2.0 specification", () => {
  for (const [title, sent, answered] of examples) {
    it(`answers ${title}`, () => {
      expect(talk(sent).map(bare)).toEqual(answered === undefined ? [] : [JSON.parse(answered)])
    })
  }

  it("carries out notifications, though it never answers them", () => {
    notified.length = 0
    talk('[{"jsonrpc": "2.0", "method": "update", "params": [1]}, {"jsonrpc": "2.0", "method": "notify_hello"}]')
    expect(notified).toEqual([
      ["update", [1]],
      ["notify_hello", undefined],
    ])
  })
})

const invalidRequest = (text: string): any => bare(talk(text)[0])

describe("requests by the letter", () => {
  it("answers an id of null like any other id", () => {
    expect(talk('{"jsonrpc":"2.0","id":null,"method":"get_data"}')).toEqual([
      { jsonrpc: "2.0", id: null, result: ["hello", 5] },
    ])
  })

  it("gives back every kind of id as it came", () => {
    for (const id of ["", "0", 0, -1, 1.5, 9007199254740991, "\u0000\u{1f600}", null]) {
      expect(talk(JSON.stringify({ jsonrpc: "2.0", id, method: "get_data" }))).toEqual([
        { jsonrpc: "2.0", id, result: ["hello", 5] },
      ])
    }
  })

  it("refuses ids that it could not give back as they came", () => {
    for (const id of ["true", "{}", "[1]", "1e400", "9007199254740993"]) {
      const answer = invalidRequest(`{"jsonrpc":"2.0","id":${id},"method":"get_data"}`)
      expect(answer).toMatchObject({ id: null, error: { code: -32600 } })
    }
  })

  it("refuses another version, a missing method and params without structure, under the id where there is one", () => {
    for (const rest of [
      '"method":"get_data"',
      '"jsonrpc":2.0,"method":"get_data"',
      '"jsonrpc":"1.0","method":"get_data"',
      '"jsonrpc":"2.0"',
      '"jsonrpc":"2.0","method":null',
      '"jsonrpc":"2.0","method":"get_data","params":3',
      '"jsonrpc":"2.0","method":"get_data","params":null',
    ]) {
      expect(invalidRequest(`{"id":7,${rest}}`)).toEqual({
        jsonrpc: "2.0",
        id: 7,
        error: { code: -32600, message: "Invalid Request" },
      })
    }
  })

  it("answers scalars and null as invalid requests", () => {
    for (const text of ["1", '"x"', "null", "true", "{}"]) {
      expect(invalidRequest(text)).toMatchObject({ id: null, error: { code: -32600 } })
    }
  })

  it("ignores answers that a client sends, alone and in a batch", () => {
    expect(talk('{"jsonrpc":"2.0","id":1,"result":5}')).toEqual([])
    expect(talk('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}')).toEqual([])
    expect(talk('[{"jsonrpc":"2.0","id":1,"result":5},{"jsonrpc":"2.0","id":2,"method":"get_data"}]')).toHaveLength(1)
  })

  it("finds no method in the prototype of the table", () => {
    for (const name of ["constructor", "__proto__", "toString", "rpc.discover", ""]) {
      expect(invalidRequest(JSON.stringify({ jsonrpc: "2.0", id: 1, method: name }))).toMatchObject({
        error: { code: -32601 },
      })
    }
  })

  it("does not repeat what it could not parse", () => {
    expect(JSON.stringify(talk('{"token": "hunter2" oops'))).not.toContain("hunter2")
  })

  it("refuses a batch of more members than it would hold answers for, with one answer", () => {
    expect(talk(`[${"1,".repeat(10_000)}1]`)).toMatchObject([{ id: null, error: { code: -32011 } }])
  })
})
