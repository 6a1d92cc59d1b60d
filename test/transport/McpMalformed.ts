/** Messages of MCP to which something happened, for the tests that flood a server with them. */
import { toolNames } from "../../src/transport/McpTools.ts"

const call = (name: string, given: unknown) => ({ method: "tools/call", params: { name, arguments: given } })
export const initialize = { method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {} } }
const requests = [
  initialize,
  { method: "ping" },
  { method: "tools/list" },
  { method: "resources/read", params: { uri: "creche://sessions/echo/transcript?after=1" } },
  { method: "resources/subscribe", params: { uri: "creche://sessions/echo" } },
  { method: "completion/complete", params: { argument: { name: "session", value: "e" } } },
  { method: "notifications/cancelled", params: { requestId: 1 } },
  ...toolNames.map((name) => call(name, { session: "echo", turn: "t", prompt: "x", request: "r", outcome: "allow" })),
  { ...call("session_ask", { session: "echo", prompt: "x", waitMs: 1 }) },
]
const junk = [
  "\u0000",
  "\ufffd",
  "[",
  "]",
  "{",
  "}",
  '"',
  "\\",
  ",",
  ":",
  "-",
  "1e999",
  "\r",
  "null",
  "\u2028",
  "\ud800",
  "]]]]",
  "{}",
]

/** A line that was a request, or a batch of them, until something happened to it: to its text, or to a value in it. */
export const malformed = (random: () => number, id: number): Buffer => {
  const pick = <A>(from: ReadonlyArray<A>): A => from[Math.floor(random() * from.length)]!
  const kind = random()
  if (kind < 0.1)
    return Buffer.from(Array.from({ length: 1 + Math.floor(random() * 40) }, () => Math.floor(random() * 256)))
  const one = () => ({ jsonrpc: "2.0", id, ...pick(requests) })
  let text = JSON.stringify(kind < 0.2 ? [one(), one()] : one())
  if (random() < 0.4) {
    // Valid JSON of a wrong shape.
    const values = [...text.matchAll(/"[a-z_/:0-9.-]*"(?!:)|\d+|\{\}/g)]
    const hit = pick(values)
    const other = pick(["null", "[]", "{}", "-1", '""', "1e308", '"\\u0000"', "true", "[[[[]]]]", '{"__proto__":1}'])
    return Buffer.from(text.slice(0, hit.index) + other + text.slice(hit.index + hit[0].length))
  }
  for (let i = 0; i <= Math.floor(random() * 4); i++) {
    const at = Math.floor(random() * text.length)
    const how = random()
    if (how < 0.35) text = text.slice(0, at) + text.slice(at + 1 + Math.floor(random() * 5))
    else if (how < 0.7) text = text.slice(0, at) + pick(junk) + text.slice(at)
    else text = text.slice(0, at)
  }
  return Buffer.from(text)
}
