/**
 * Carries out one call of a tool: params to the upstream, its answer or failure as the tool's result. Asking and waiting are
 * more than one request: they tell progress, answer early when the agent asks for leave, and end as the caller wished when it
 * is cancelled. Called by `McpSession`.
 */
import * as Schema from "effect/Schema"
import { InvalidParams } from "../domain/Errors.ts"
import { deepest, isShallow, strictDecoder } from "../domain/StrictDecoder.ts"
import { isTerminal } from "../domain/Turn.ts"
import * as JsonRpc from "./JsonRpc.ts"
import type { McpProgress } from "./McpProgress.ts"
import { briefSession, failedResult, plainResult, type ToolResult, turnResult } from "./McpResult.ts"
import { askFields, listFields, type ToolName, toolSpecs, waitFields } from "./McpTools.ts"
import { type McpUpstream, UpstreamError } from "./McpUpstream.ts"
import type { WireEntry, WireTurn } from "./Wire.ts"

type Arguments = Readonly<Record<string, unknown>>

export interface ToolCall {
  readonly upstream: McpUpstream
  /** Aborted when the client cancels the call, or is gone. */
  readonly signal: AbortSignal
  /** Whether it was the client's wish: a client that is gone has none. */
  readonly wasCancelled: () => boolean
  readonly progress: McpProgress | undefined
}

const AskFields = Schema.Struct(askFields)
const WaitFields = Schema.Struct(waitFields)
const ListFields = Schema.Struct(listFields)
const decodeAsk = strictDecoder<typeof AskFields.Type>(AskFields).decode
const decodeWait = strictDecoder<typeof WaitFields.Type>(WaitFields).decode
const decodeList = strictDecoder<typeof ListFields.Type>(ListFields).decode

const invalid = (issues: InvalidParams["issues"]) =>
  new UpstreamError(JsonRpc.runtimeError(new InvalidParams({ issues })))

/** The fields that MCP adds, checked here, and the rest, which the runtime checks. */
const split = <A>(
  given: Arguments,
  fields: object,
  decode: (value: unknown) => ReturnType<ReturnType<typeof strictDecoder<A>>["decode"]>,
): { readonly own: A; readonly rest: any } => {
  const rest: Record<string, unknown> = {}
  const own: Record<string, unknown> = {}
  for (const [field, value] of Object.entries(given)) (Object.hasOwn(fields, field) ? own : rest)[field] = value
  const decoded = decode(own)
  if (decoded._tag === "Valid") return { own: decoded.value, rest }
  throw invalid(decoded.problems.map(({ path, message }) => ({ path: path.join("."), message })))
}

/** A turn that is left before it ended: as it stands, with what its session waits for. */
const standing = async ({ upstream }: ToolCall, turn: string): Promise<ToolResult> => {
  const now = await upstream.request("turn/get", { turn })
  if (now.status !== "queued" && now.status !== "running") return turnResult(now)
  return turnResult(now, await upstream.request("session/get", { session: now.session }))
}

const ask = async (given: Arguments, call: ToolCall): Promise<ToolResult> => {
  const { own, rest } = split<typeof AskFields.Type>(given, askFields, decodeAsk)
  // Without it the turn could not be told from others, and nothing could be left early.
  if ("stream" in rest)
    throw invalid([{ path: "stream", message: "means nothing here; a progress token asks for progress" }])
  const { upstream, signal, progress } = call
  // Who may not look at a turn can do nothing but wait for it.
  const mayLook = upstream.permits?.("turn/get") ?? true
  if (own.waitMs !== undefined && !mayLook)
    throw invalid([{ path: "waitMs", message: "needs leave to look at turns (scope read); leave it out" }])
  const leaving = new AbortController()
  let turn: string | undefined
  let session: string | undefined
  let left: "cancelled" | "early" | undefined
  const leave = (how: "cancelled" | "early") => {
    if (left === "cancelled") return
    left = how
    depart()
  }
  const depart = () => {
    if (left === undefined) return
    if (left === "cancelled" && own.cancelOnAbort === true && call.wasCancelled()) {
      // Until its first entry nobody knows which turn it is; then the cancelled turn ends the ask.
      if (turn !== undefined && session !== undefined)
        upstream.request("session/cancel", { session, turn }).catch(() => leaving.abort())
    } else if (left === "cancelled" || turn !== undefined) leaving.abort()
  }
  const onEntry = (entry: WireEntry) => {
    if (turn === undefined && entry.turn !== undefined) {
      turn = entry.turn
      session = entry.session
      depart()
    }
    const room = progress?.entry(entry)
    if (entry.type === "permission/requested" && own.onPermission !== "wait" && mayLook) leave("early")
    return room
  }
  const onAbort = () => leave("cancelled")
  const timer =
    own.waitMs === undefined ? undefined : setTimeout(() => leave("early"), Math.min(own.waitMs, 2 ** 31 - 1))
  signal.addEventListener("abort", onAbort, { once: true })
  if (signal.aborted) onAbort()
  try {
    return turnResult(await upstream.ask(rest, { signal: leaving.signal, onEntry }))
  } catch (error) {
    if (left === "early" && leaving.signal.aborted && turn !== undefined) return standing(call, turn)
    throw error
  } finally {
    clearTimeout(timer)
    signal.removeEventListener("abort", onAbort)
  }
}

const wait = async (given: Arguments, call: ToolCall): Promise<ToolResult> => {
  const { own, rest } = split<typeof WaitFields.Type>(given, waitFields, decodeWait)
  const { upstream, signal, progress } = call
  const options = { signal }
  if (typeof rest.turn !== "string") return turnResult(await upstream.request("turn/wait", rest, options))
  const found = await upstream.request("turn/get", { turn: rest.turn }, options)
  if (isTerminal(found as never) || (progress === undefined && own.onPermission === "wait")) {
    return turnResult(await upstream.request("turn/wait", rest, options))
  }
  const leaving = new AbortController()
  const both = AbortSignal.any([signal, leaving.signal])
  // First come the requests that wait already.
  const subscription = await upstream.subscribe({ session: found.session }, options)
  const watching = (async () => {
    for await (const event of subscription) {
      if (!("entry" in event) || event.entry.turn !== found.id) continue
      await progress?.entry(event.entry)
      if (event.entry.type === "permission/requested" && own.onPermission !== "wait") return leaving.abort()
    }
  })()
  watching.catch(() => {})
  let ended: WireTurn
  try {
    ended = await upstream.request("turn/wait", rest, { signal: both })
  } catch (error) {
    if (leaving.signal.aborted && !signal.aborted) return await standing(call, found.id)
    throw error
  } finally {
    await subscription.close()
  }
  return isTerminal(ended as never) ? turnResult(ended) : standing(call, ended.id)
}

const carryOut = async (tool: ToolName, given: Arguments, call: ToolCall): Promise<ToolResult> => {
  // Deeper JSON could not be passed on: it would overflow the stack of whoever writes it.
  if (!isShallow(given)) throw invalid([{ path: "", message: `arguments may be nested ${deepest} levels deep` }])
  switch (tool) {
    case "session_ask":
      return ask(given, call)
    case "turn_wait":
      return wait(given, call)
    case "session_list": {
      const { own, rest } = split<typeof ListFields.Type>(given, listFields, decodeList)
      const page = await call.upstream.request("session/list", rest, { signal: call.signal })
      return plainResult(tool, own.full === true ? page : { ...page, sessions: page.sessions.map(briefSession) })
    }
    default: {
      const { method, drops = [], defaults } = toolSpecs[tool]
      for (const field of drops) {
        if (field in given) throw invalid([{ path: field, message: "is not a field of this tool" }])
      }
      // Where only MCP speaks, the record shall say so.
      const named =
        tool === "permission_answer" && given["by"] === undefined ? { ...given, by: "mcp" } : { ...defaults, ...given }
      return plainResult(tool, await call.upstream.request(method, named as never, { signal: call.signal }))
    }
  }
}

/** Rejects for bugs alone: what anybody expects is a result. */
export const callTool = async (tool: ToolName, given: Arguments, call: ToolCall): Promise<ToolResult> => {
  try {
    return await carryOut(tool, given, call)
  } catch (error) {
    const failed = failedResult(error)
    if (failed === undefined) throw error
    return failed
  }
}
