/**
 * Files that an ACP agent has read and written by its client instead of by itself: its requests as calls of the host, and
 * what came of them as its answers. Only what was offered is taken. Pure; called by Acp.
 */
import type { ReadTextFileResponse, WriteTextFileResponse } from "@agentclientprotocol/sdk"
import { isAbsolute, resolve } from "node:path"
import { write, type AcpState, type Events, type OpenFileCall } from "./AcpState.ts"
import type { HostAnswer, HostCall } from "./HostCall.ts"
import type { JsonObject } from "./JsonObject.ts"
import * as RpcPeer from "./RpcPeer.ts"
import type { RpcId } from "./RpcPeer.ts"

/** Offered to the agent: nothing, reading, or reading and writing. */
export type Files = "read" | "write" | undefined

export const capabilities = (files: Files) => ({ readTextFile: files !== undefined, writeTextFile: files === "write" })

/** So many may be under way; each waits for the one before it. */
const maxCalls = 64

const invalidParams = -32602
const internalError = -32603
const resourceNotFound = -32002
const requestCancelled = -32800

const count = (value: unknown): number | null | undefined =>
  value === undefined || value === null
    ? null
    : Number.isSafeInteger(value) && Number(value) >= 0
      ? Number(value)
      : undefined

/** The call that a request means, with what its transcript tells of it; a string: what is wrong with it. */
const callOf = (
  method: string,
  { path: given, line, limit, content }: JsonObject,
  root: string,
): { readonly what: HostCall; readonly told: JsonObject } | string => {
  if (typeof given !== "string" || !isAbsolute(given) || given.includes("\0")) return "path must be an absolute path"
  // As it is opened: no rule is got round by another way of writing the same path.
  const path = resolve(given)
  if (method === "fs/write_text_file") {
    if (typeof content !== "string") return "content must be a text"
    return { what: { type: "writeTextFile", root, path, content }, told: { path, bytes: Buffer.byteLength(content) } }
  }
  const [first, most] = [count(line), count(limit)]
  if (first === undefined || most === undefined) return "line and limit must be whole numbers, and not negative"
  const told = { path, ...(first === null ? {} : { line: first }), ...(most === null ? {} : { limit: most }) }
  return { what: { type: "readTextFile", root, path, line: first, limit: most }, told }
}

const isOffered = (method: string, files: Files): boolean =>
  method === "fs/read_text_file" ? files !== undefined : method === "fs/write_text_file" && files === "write"

/** Undefined: this is no request for a file, or for one that was not offered. */
export const requested = (
  state: AcpState,
  session: string | null,
  files: Files,
  { id, method, params }: { readonly id: RpcId; readonly method: string; readonly params: JsonObject },
  events: Events,
): AcpState | undefined => {
  if (!isOffered(method, files)) return undefined
  const refuse = (message: string): AcpState => {
    write(events, RpcPeer.failure(state.peer, id, { code: invalidParams, message }))
    return state
  }
  if (session === null || params["sessionId"] !== session) return refuse("sessionId must be that of the open session")
  const call = callOf(method, params, state.cwd)
  if (typeof call === "string") return refuse(call)
  if (state.calls.size >= maxCalls) return refuse(`more than ${maxCalls} files at a time`)
  // The ids 1 and "1" are two, and neither is a permission's.
  const name = `${method} ${JSON.stringify(id)}`
  if (state.calls.has(name)) return refuse("this id waits for its answer already")
  const { sessionId: _, ...input } = params
  events.push({ type: "call", call: name, what: call.what, tool: method, input: { ...input, path: call.what.path } })
  return { ...state, calls: new Map(state.calls).set(name, { id, method, told: call.told }) }
}

const without = (state: AcpState, call: string): AcpState => {
  const calls = new Map(state.calls)
  calls.delete(call)
  return { ...state, calls }
}

const tell = (
  events: Events,
  call: string,
  { method, told }: OpenFileCall,
  status: "completed" | "failed" | "cancelled",
  output: JsonObject,
): void => void events.push({ type: "tool", toolId: call, name: method, input: told, output, status })

export const returned = (state: AcpState, call: string, answer: HostAnswer, events: Events): AcpState => {
  const open = state.calls.get(call)
  if (open === undefined) return state
  const { id, method, told } = open
  if (answer.type === "done") {
    const result =
      method === "fs/read_text_file"
        ? ({ content: answer.text } satisfies ReadTextFileResponse)
        : ({} satisfies WriteTextFileResponse)
    write(events, RpcPeer.result(state.peer, id, result))
    const output = method === "fs/read_text_file" ? { bytes: Buffer.byteLength(answer.text) } : {}
    tell(events, call, open, "completed", output)
  } else {
    const { reason } = answer
    const said = `${JSON.stringify(told["path"])} ${answer.message}`
    // The words of the official library: there are agents that know a missing file by them alone.
    const message = reason === "missing" ? `Resource not found: ${said}` : said
    const code = reason === "missing" ? resourceNotFound : reason === "failed" ? internalError : invalidParams
    write(events, RpcPeer.failure(state.peer, id, { code, message, data: { reason } }))
    tell(events, call, open, "failed", { error: message, reason })
  }
  return without(state, call)
}

/** Answers one that nobody waits for any more. One that is under way is done all the same. */
const giveUp = (state: AcpState, call: string, open: OpenFileCall, events: Events): AcpState => {
  write(events, RpcPeer.failure(state.peer, open.id, { code: requestCancelled, message: "the request was cancelled" }))
  events.push({ type: "permissionWithdrawn", request: call })
  tell(events, call, open, "cancelled", {})
  return without(state, call)
}

/** The agent takes one back. */
export const takenBack = (state: AcpState, id: unknown, events: Events): AcpState => {
  for (const [call, open] of state.calls) if (open.id === id) return giveUp(state, call, open, events)
  return state
}

/** The turn is over, or given up, and with it what was asked for in it. */
export const giveUpAll = (before: AcpState, events: Events): AcpState => {
  let state = before
  for (const [call, open] of before.calls) state = giveUp(state, call, open, events)
  return state
}
