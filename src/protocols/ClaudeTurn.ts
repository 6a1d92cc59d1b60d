/**
 * A turn of Claude Code as it grows: what its messages add to the answer, and how its `result` ends it. Pure; knows
 * neither the handshake nor permissions, which are `Claude`'s.
 */
import type { TurnError, Usage } from "../domain/Turn.ts"
import { answerTooLong } from "./Answer.ts"
import { numberOf, objectOf, objectsOf, stringOf, type JsonObject } from "./JsonObject.ts"
import type { ProtocolEvent } from "./Protocol.ts"

export interface ClaudeTurn {
  /** The answer so far: the pieces as they were streamed, a blank line between two blocks of text. */
  readonly text: string
  readonly overflown: boolean
  /** The newest piece belongs to a block that is over. */
  readonly apart: boolean
  /** Of the message that comes in pieces; the whole one that follows repeats them. */
  readonly streaming: string | undefined
  /** Tools that were called and have not answered, by their ids. */
  readonly tools: ReadonlyMap<string, string>
}

export const noTurn: ClaudeTurn = {
  text: "",
  overflown: false,
  apart: false,
  streaming: undefined,
  tools: new Map(),
}

/** What a message adds; `untold`: the events do not hold what it says. */
export interface Addition {
  readonly turn: ClaudeTurn
  readonly events: ReadonlyArray<ProtocolEvent>
  readonly untold: boolean
}

const told = (turn: ClaudeTurn, events: ReadonlyArray<ProtocolEvent> = []): Addition => ({
  turn,
  events,
  untold: false,
})
const untold = (turn: ClaudeTurn): Addition => ({ turn, events: [], untold: true })

const withText = (turn: ClaudeTurn, piece: string, limitChars: number): Addition => {
  if (piece === "") return told(turn)
  const text = turn.apart && turn.text !== "" ? `\n\n${piece}` : piece
  const overflown = turn.overflown || turn.text.length + text.length > limitChars
  return told({ ...turn, apart: false, overflown, text: overflown ? turn.text : turn.text + text }, [
    { type: "delta", text },
  ])
}

/** A `stream_event`. Which block begins, which model runs, and the JSON of a tool's input in pieces are told by other messages. */
const streamed = (turn: ClaudeTurn, event: JsonObject, limitChars: number): Addition => {
  switch (event["type"]) {
    case "content_block_delta": {
      const delta = objectOf(event["delta"])
      if (delta["type"] === "text_delta") return withText(turn, stringOf(delta["text"]) ?? "", limitChars)
      if (delta["type"] === "thinking_delta") {
        const text = stringOf(delta["thinking"]) ?? ""
        return told(turn, text === "" ? [] : [{ type: "thought", text }])
      }
      return delta["type"] === "input_json_delta" || delta["type"] === "signature_delta" ? told(turn) : untold(turn)
    }
    case "message_start":
      return told({ ...turn, apart: true, streaming: stringOf(objectOf(event["message"])["id"]) })
    case "content_block_start":
      return told(turn.apart ? turn : { ...turn, apart: true })
    case "content_block_stop":
    case "message_delta":
    case "message_stop":
    case "ping":
      return told(turn)
    default:
      return untold(turn)
  }
}

/** An `assistant` message. Of one that was streamed only the tools are new. */
const assistant = (before: ClaudeTurn, message: JsonObject, limitChars: number): Addition => {
  const wasStreamed = before.streaming !== undefined && message["id"] === before.streaming
  const events: Array<ProtocolEvent> = []
  let turn = before
  let isUntold = false
  for (const block of objectsOf(message["content"])) {
    switch (block["type"]) {
      case "text":
        if (wasStreamed) break
        {
          const added = withText({ ...turn, apart: true }, stringOf(block["text"]) ?? "", limitChars)
          turn = added.turn
          events.push(...added.events)
        }
        break
      case "thinking":
        if (!wasStreamed) events.push({ type: "thought", text: stringOf(block["thinking"]) ?? "" })
        break
      case "tool_use": {
        const toolId = stringOf(block["id"]) ?? ""
        const name = stringOf(block["name"]) ?? ""
        turn = { ...turn, tools: new Map(turn.tools).set(toolId, name) }
        events.push({ type: "tool", toolId, name, input: block["input"], status: "in_progress" })
        break
      }
      default:
        isUntold = true
    }
  }
  return { turn, events, untold: isUntold }
}

/** A `user` message is of the CLI's own making: results of tools, and words that it puts into the conversation. */
const user = (before: ClaudeTurn, message: JsonObject): Addition => {
  const blocks = objectsOf(message["content"])
  const results = blocks.filter(({ type }) => type === "tool_result")
  const tools = new Map(before.tools)
  const events = results.map((result): ProtocolEvent => {
    const toolId = stringOf(result["tool_use_id"]) ?? ""
    const name = tools.get(toolId) ?? ""
    tools.delete(toolId)
    const status = result["is_error"] === true ? "failed" : "completed"
    return { type: "tool", toolId, name, output: result["content"], status }
  })
  return {
    turn: results.length === 0 ? before : { ...before, tools },
    events,
    untold: results.length < blocks.length || results.length === 0,
  }
}

/** A message that belongs to an answer: `stream_event`, `assistant` or `user`. */
export const addMessage = (turn: ClaudeTurn, message: JsonObject, limitChars: number): Addition => {
  // What a subagent says is no part of the answer; what its tools do is work as any other.
  const isOwn = message["parent_tool_use_id"] === null || message["parent_tool_use_id"] === undefined
  const inner = objectOf(message["message"])
  switch (message["type"]) {
    case "stream_event":
      return isOwn ? streamed(turn, objectOf(message["event"]), limitChars) : untold(turn)
    case "assistant": {
      // With `error` it is the CLI that speaks, of what went wrong; the `result` says it again.
      const isError = message["error"] !== undefined && message["error"] !== null
      return isOwn && !isError ? assistant(turn, inner, limitChars) : untold(turn)
    }
    default:
      return isOwn ? user(turn, inner) : untold(turn)
  }
}

/** Costs are sums of many small floats; a difference of two needs no more digits than these. */
const rounded = (usd: number): number => Math.round(usd * 1e9) / 1e9

/** `costBefore`: what the process had cost before this turn; its `total_cost_usd` counts all of its turns. */
const usageOf = (result: JsonObject, costBefore: number): Usage => {
  const usage = objectOf(result["usage"])
  const cost = numberOf(result["total_cost_usd"])
  const fields = {
    inputTokens: numberOf(usage["input_tokens"]),
    outputTokens: numberOf(usage["output_tokens"]),
    cacheReadTokens: numberOf(usage["cache_read_input_tokens"]),
    cacheWriteTokens: numberOf(usage["cache_creation_input_tokens"]),
    costUsd: cost === undefined ? undefined : rounded(Math.max(0, cost - costBefore)),
  }
  return Object.fromEntries(Object.entries(fields).filter((field): field is [string, number] => field[1] !== undefined))
}

/** What went wrong in the words of a `result`. */
export const failureIn = (result: JsonObject): string => {
  const errors = Array.isArray(result["errors"]) ? result["errors"].map(String) : []
  return (
    stringOf(result["result"]) ?? (errors.length > 0 ? errors.join("; ") : String(result["subtype"] ?? "it failed"))
  )
}

const errorIn = (result: JsonObject): TurnError => {
  const status = numberOf(result["api_error_status"])
  return {
    tag: "AgentError",
    message: failureIn(result),
    ...(status === undefined ? undefined : { apiStatus: status }),
  }
}

/** How a `result` ends the turn. An error can come under `success`: it counts whatever the subtype says. */
export const endOf = (
  turn: ClaudeTurn,
  result: JsonObject,
  costBefore: number,
  limitChars: number,
): Extract<ProtocolEvent, { readonly type: "ended" }> => {
  const reason = stringOf(result["terminal_reason"])
  const usage = usageOf(result, costBefore)
  const plain = {
    type: "ended",
    text: turn.text,
    ...(Object.keys(usage).length === 0 ? undefined : { usage }),
  } as const
  if (reason?.startsWith("aborted") === true) return { ...plain, status: "cancelled", stopReason: "cancelled" }
  if (result["is_error"] === true || (result["subtype"] !== undefined && result["subtype"] !== "success")) {
    const stopReason = reason ?? stringOf(result["subtype"]) ?? null
    return { ...plain, status: "failed", stopReason, error: errorIn(result) }
  }
  if (turn.overflown) return { ...plain, status: "failed", stopReason: null, error: answerTooLong(limitChars) }
  // A command of the CLI's own answers in its result alone.
  const text = turn.text === "" ? (stringOf(result["result"]) ?? "") : turn.text
  return { ...plain, text, status: "completed", stopReason: stringOf(result["stop_reason"]) ?? "end_turn" }
}
