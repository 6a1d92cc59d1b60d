/**
 * A turn of Codex from its prompt to its end: what its items say as events, and how it ended. Knows nothing of requests
 * and threads. Pure; stepped by Codex.
 */
import type { TurnError } from "../domain/Turn.ts"
import { answerTooLong } from "./Answer.ts"
import { toolItem, type ToolItem } from "./CodexItem.ts"
import { tokensSince, usageOf, type TokenCount } from "./CodexWire.ts"
import { objectOf, stringOf, type JsonObject } from "./JsonObject.ts"
import type { ProtocolEvent } from "./Protocol.ts"

/** The message that the agent is writing, or wrote last. */
interface Message {
  readonly id: string
  readonly text: string
  /** More came than is kept. */
  readonly overflown: boolean
}

export interface CodexTurn {
  /** Counted by creche: what is answered late must not meet a later turn. */
  readonly number: number
  readonly input: ReadonlyArray<JsonObject>
  /** `held`: not asked for yet; `asked`: the agent was told; `running`: it said that it began. */
  readonly stage: "held" | "asked" | "running"
  /** How often the agent was too busy to take it. */
  readonly attempt: number
  /** The agent's own; null before it said. */
  readonly id: string | null
  readonly cancelling: boolean
  readonly message: Message | null
  /** The reasoning that came in pieces. */
  readonly thinking: string | null
  readonly tools: ReadonlyMap<string, ToolItem>
  /** Of the thread when the turn began; null: nothing is known of what came before. */
  readonly tokensBefore: TokenCount | null
}

export const makeTurn = (number: number, input: ReadonlyArray<JsonObject>): CodexTurn => ({
  number,
  input,
  stage: "held",
  attempt: 0,
  id: null,
  cancelling: false,
  message: null,
  thinking: null,
  tools: new Map(),
  tokensBefore: null,
})

/** What a notification of the turn makes of it; undefined: it is none that a turn is told by. */
type Told = { readonly turn: CodexTurn; readonly events: ReadonlyArray<ProtocolEvent> } | undefined

const nothing: ReadonlyArray<ProtocolEvent> = []

const delta = (turn: CodexTurn, id: string, piece: string, answerChars: number): Told => {
  if (piece === "") return { turn, events: nothing }
  const { message } = turn
  if (message?.id === id) {
    const whole = message.text + piece
    const next = whole.length > answerChars ? { ...message, overflown: true } : { ...message, text: whole }
    return { turn: { ...turn, message: next }, events: [{ type: "delta", text: piece }] }
  }
  // A message after another one: who reads the deltas alone sees that it is one.
  const before = message !== null && message.text !== "" ? "\n\n" : ""
  const overflown = piece.length > answerChars
  const next = { id, text: overflown ? "" : piece, overflown }
  return { turn: { ...turn, message: next }, events: [{ type: "delta", text: before + piece }] }
}

/** The whole message, which counts: what its deltas left out is told now. */
const messageDone = (turn: CodexTurn, id: string, text: string, answerChars: number): Told => {
  const streamed = turn.message?.id === id ? turn.message.text : ""
  const missing = text.startsWith(streamed) && turn.message?.overflown !== true ? text.slice(streamed.length) : ""
  const told = delta(turn, id, missing, answerChars)
  if (told === undefined || (text === "" && turn.message?.id !== id)) return told
  const overflown = text.length > answerChars
  return { ...told, turn: { ...told.turn, message: { id, text: overflown ? "" : text, overflown } } }
}

const thought = (turn: CodexTurn, id: string, text: string): Told => ({
  turn: turn.thinking === id ? turn : { ...turn, thinking: id },
  events: text === "" ? nothing : [{ type: "thought", text }],
})

const tool = (turn: CodexTurn, id: string, item: JsonObject, isDone: boolean): Told => {
  const known = toolItem(item, isDone)
  if (known === undefined) return undefined
  const before = turn.tools.get(id)
  const tools = new Map(turn.tools)
  if (isDone) tools.delete(id)
  else tools.set(id, known)
  const { input, ...more } = known
  // Told once: a command that ran is the one that began.
  const isNew = before === undefined || JSON.stringify(before.input) !== JSON.stringify(input)
  return {
    turn: { ...turn, tools },
    events: [{ type: "tool", toolId: id, ...(isNew ? { input } : {}), ...more }],
  }
}

const textsOf = (value: unknown): ReadonlyArray<string> =>
  Array.isArray(value) ? value.filter((text) => typeof text === "string") : []

const itemDone = (turn: CodexTurn, id: string, item: JsonObject, answerChars: number): Told => {
  switch (item["type"]) {
    case "agentMessage":
      return messageDone(turn, id, stringOf(item["text"]) ?? "", answerChars)
    case "reasoning": {
      if (turn.thinking === id) return { turn, events: nothing }
      const summary = textsOf(item["summary"])
      return thought(turn, id, (summary.length > 0 ? summary : textsOf(item["content"])).join("\n\n"))
    }
    case "userMessage":
      return { turn, events: nothing }
    default:
      return tool(turn, id, item, true)
  }
}

/** Takes over a notification that is about this turn. */
export const notified = (turn: CodexTurn, method: string, params: JsonObject, answerChars: number): Told => {
  switch (method) {
    case "item/agentMessage/delta":
      return delta(turn, stringOf(params["itemId"]) ?? "", stringOf(params["delta"]) ?? "", answerChars)
    case "item/reasoning/summaryTextDelta":
    case "item/reasoning/textDelta":
      return thought(turn, stringOf(params["itemId"]) ?? "", stringOf(params["delta"]) ?? "")
    case "item/reasoning/summaryPartAdded": {
      const isFirst = params["summaryIndex"] === 0
      return isFirst ? { turn, events: nothing } : thought(turn, stringOf(params["itemId"]) ?? "", "\n\n")
    }
    case "item/commandExecution/outputDelta": {
      const toolId = stringOf(params["itemId"]) ?? ""
      const name = turn.tools.get(toolId)?.name ?? "shell"
      return {
        turn,
        events: [{ type: "tool", toolId, name, output: params["delta"], status: "in_progress" }],
      }
    }
    case "item/started":
    case "item/completed": {
      const item = objectOf(params["item"])
      const id = stringOf(item["id"]) ?? ""
      if (method === "item/completed") return itemDone(turn, id, item, answerChars)
      const type = item["type"]
      if (type === "agentMessage" || type === "reasoning" || type === "userMessage") return { turn, events: nothing }
      return tool(turn, id, item, false)
    }
    default:
      return undefined
  }
}

export const agentError = (error: unknown, otherwise: string): TurnError => {
  const message = stringOf(objectOf(error)["message"])
  return { tag: "AgentError", message: message ?? otherwise, ...(error === undefined ? {} : { error }) }
}

type Ended = Extract<ProtocolEvent, { readonly type: "ended" }>

/** A turn that ends by our doing, with what was said in it until then. */
export const endedEarly = (turn: CodexTurn, outcome: "cancelled" | TurnError): Ended => {
  const text = turn.message?.text ?? ""
  return outcome === "cancelled"
    ? { type: "ended", status: "cancelled", text, stopReason: "cancelled" }
    : { type: "ended", status: "failed", text, stopReason: null, error: outcome }
}

/** `ended`: the agent's own account of the turn. `tokens`: of the thread by now. */
export const endedBy = (turn: CodexTurn, ended: JsonObject, tokens: TokenCount | null, answerChars: number): Ended => {
  const text = turn.message?.text ?? ""
  const usage =
    tokens === null || turn.tokensBefore === null || tokens === turn.tokensBefore
      ? {}
      : { usage: usageOf(tokensSince(tokens, turn.tokensBefore)) }
  switch (ended["status"]) {
    case "completed":
      return turn.message?.overflown === true
        ? { type: "ended", status: "failed", text, stopReason: null, error: answerTooLong(answerChars), ...usage }
        : { type: "ended", status: "completed", text, stopReason: "end_turn", ...usage }
    case "interrupted":
      return { type: "ended", status: "cancelled", text, stopReason: "cancelled", ...usage }
    default: {
      const error = agentError(ended["error"] ?? undefined, `the agent ended the turn as ${String(ended["status"])}`)
      return { type: "ended", status: "failed", text, stopReason: null, error, ...usage }
    }
  }
}
