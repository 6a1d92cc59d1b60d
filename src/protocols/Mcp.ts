/**
 * `mcp`: a server of the Model Context Protocol as a child, over stdio. Ready after `initialize` and
 * `notifications/initialized`. A prompt is a request as in `jsonrpc`, or `{"tool": NAME, "arguments": {…}}` for a call of a
 * tool: its answer is the joined text contents, the whole result a `native` entry. A tool that reports an error fails the turn
 * (`ToolError`). Progress, logs and changes of lists are `native` entries.
 *
 * A cancelled call gets no answer, so the turn ends with the answer to a `ping`: the server lives and may be asked again.
 * Sampling, elicitation and roots are offered to clients as permissions where `capabilities` declare them, else refused.
 */
import type { Prompt } from "../domain/Prompt.ts"
import type { McpOptions } from "../domain/ProtocolSpec.ts"
import { makeJsonRpcChild } from "./JsonRpcChild.ts"
import {
  fieldsOf,
  isRpcId,
  wholeResult,
  type Asking,
  type Outcome,
  type RpcCall,
  type RpcReply,
} from "./JsonRpcDialect.ts"
import { promptObject, readCall } from "./JsonRpcPrompt.ts"

const latest = "2025-11-25"

const forms = '{"tool": NAME, "arguments": {…}} or {"method": NAME, "params": {…}}'

const invalid = (message: string): Asking => ({ type: "invalid", message })

const ask = (prompt: Prompt, id: number): Asking => {
  const object = promptObject(prompt, forms)
  if (typeof object === "string") return invalid(object)
  if (!Object.hasOwn(object, "tool")) {
    return Object.hasOwn(object, "method") ? readCall(object) : invalid(`the prompt must be ${forms}`)
  }
  const { tool: name, arguments: given = {}, ...rest } = object
  if (typeof name !== "string" || name === "") return invalid('"tool" must be the name of a tool')
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    return invalid('"arguments" must be an object')
  }
  const unknown = Object.keys(rest).map((field) => JSON.stringify(field))
  if (unknown.length > 0) return invalid(`${unknown.join(", ")}: no such field; a prompt is ${forms}`)
  // With a token the server may tell how far it is.
  const params = { name, arguments: given, _meta: { progressToken: id } }
  return { type: "request", call: { method: "tools/call", params }, isShort: true }
}

const textOf = (result: unknown): string => {
  const { content } = fieldsOf(result)
  if (!Array.isArray(content)) return ""
  return content
    .flatMap((block: unknown) => {
      const { type, text } = fieldsOf(block)
      return type === "text" && typeof text === "string" ? [text] : []
    })
    .join("\n")
}

const outcome = (result: unknown, { method, params }: RpcCall, isShort: boolean): Outcome => {
  const whole = isShort ? { text: textOf(result), isPartial: true } : wholeResult(result)
  if (method !== "tools/call" || fieldsOf(result)["isError"] !== true) return whole
  const tool = fieldsOf(params)["name"]
  const message = textOf(result) || `the tool ${JSON.stringify(tool)} reported an error`
  return { ...whole, error: { tag: "ToolError", message, tool } }
}

const unsupported = (method: string): RpcReply => ({
  error: { code: -32601, message: `${method}: this client does not declare that capability` },
})

/** What a client must have declared before it is asked for it, by the beginning of the method. */
const capabilityOf = (method: string): string | undefined =>
  ["sampling", "elicitation", "roots"].find((name) => method.startsWith(`${name}/`))

const consent = (method: string): unknown => {
  switch (method) {
    case "roots/list":
      return { roots: [] }
    case "elicitation/create":
      return { action: "accept", content: {} }
    default:
      return null
  }
}

const refusal = (method: string): RpcReply =>
  method === "elicitation/create"
    ? { result: { action: "decline" } }
    : { error: { code: method === "sampling/createMessage" ? -1 : -32000, message: "the request was refused" } }

export const makeMcp = ({
  protocolVersion = latest,
  capabilities = {},
  clientInfo = { name: "creche", version: "1" },
}: McpOptions = {}) =>
  makeJsonRpcChild({
    name: "mcp",
    framing: "lines",
    isMarked: true,
    handshake: () => ({
      request: { method: "initialize", params: { protocolVersion, capabilities, clientInfo } },
      after: { method: "notifications/initialized" },
    }),
    ask,
    outcome,
    neutral: (method) => {
      if (method === "ping") return { result: {} }
      const capability = capabilityOf(method)
      return capability === undefined || Object.hasOwn(capabilities, capability) ? undefined : unsupported(method)
    },
    heartbeat: "ping",
    consent,
    refusal,
    cancel: {
      call: (requestId) => ({ method: "notifications/cancelled", params: { requestId } }),
      until: { method: "ping" },
    },
    goodbye: "eof",
    withdrawal: (method, params) => {
      const { requestId: id } = fieldsOf(params)
      return method === "notifications/cancelled" && isRpcId(id) ? { id } : undefined
    },
  })
