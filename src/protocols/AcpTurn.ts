/**
 * A turn over ACP as it grows: what a `session/update` adds to it, and how the answer to `session/prompt` ends it. Pure;
 * decides nothing about the session, which `Acp` does.
 */
import type { TurnError, Usage } from "../domain/Turn.ts"
import { isEmpty, nonEmptyOf } from "./AcpMessage.ts"
import { isObject, objectOf, objectsOf, type JsonObject } from "./JsonObject.ts"
import { answerTooLong } from "./Answer.ts"
import type { ProtocolEvent } from "./Protocol.ts"
import type { RpcError } from "./RpcPeer.ts"

interface KnownTool {
  readonly name: string
  readonly status: string
}

export interface AcpTurn {
  /** The agent's messages so far, a blank line between two. */
  readonly text: string
  readonly overflown: boolean
  /** Of the newest chunk of text, where the agent says. */
  readonly messageId: string | undefined
  /** A tool came after the newest chunk. */
  readonly apart: boolean
  readonly tools: ReadonlyMap<string, KnownTool>
  readonly cancelling: boolean
  /** What the agent's conversation had cost before; null: nobody here knows. */
  readonly costBefore: number | null
}

export const beginTurn = (costBefore: number | null): AcpTurn => ({
  text: "",
  overflown: false,
  messageId: undefined,
  apart: false,
  tools: new Map(),
  cancelling: false,
  costBefore,
})

/** What an update adds; `untold`: the events do not hold all that it says. */
export interface Addition {
  readonly turn: AcpTurn
  readonly events: ReadonlyArray<ProtocolEvent>
  readonly untold: boolean
}

const nothing: ReadonlyArray<ProtocolEvent> = []

const knownFields = new Set(
  "sessionUpdate toolCallId title kind status name rawInput rawOutput content locations _meta".split(" "),
)

/** The name that an agent gives its tool in a field of its own, before there was one in the protocol. */
const nameInMeta = (meta: unknown): string | undefined => {
  for (const own of Object.values(objectOf(meta))) {
    const name = nonEmptyOf(objectOf(own)["toolName"])
    if (name !== undefined) return name
  }
  return undefined
}

const saysMore = (meta: unknown): boolean =>
  Object.values(objectOf(meta)).some((own) => !isObject(own) || Object.keys(own).some((field) => field !== "toolName"))

const nameOf = (call: JsonObject): string | undefined => {
  const kind = nonEmptyOf(call["kind"])
  return (
    nonEmptyOf(call["name"]) ??
    nameInMeta(call["_meta"]) ??
    (kind === undefined || kind === "other" ? undefined : kind) ??
    nonEmptyOf(call["title"])
  )
}

/** What a tool is called and gets, for who has to decide. Without an input in the agent's own form: the call as it came. */
export const asksFor = (
  call: JsonObject,
  turn: AcpTurn | undefined,
): { readonly tool: string; readonly input: unknown } => {
  const known = turn?.tools.get(nonEmptyOf(call["toolCallId"]) ?? "")
  const own = nonEmptyOf(call["name"]) ?? nameInMeta(call["_meta"])
  const input = call["rawInput"]
  return { tool: own ?? known?.name ?? nameOf(call) ?? "tool", input: isEmpty(input) ? call : input }
}

const tool = (turn: AcpTurn, call: JsonObject): Addition => {
  const toolId = nonEmptyOf(call["toolCallId"])
  if (toolId === undefined) return { turn, events: nothing, untold: true }
  const { rawInput, rawOutput, content, title, kind, locations } = call
  const before = turn.tools.get(toolId)
  const status = nonEmptyOf(call["status"]) ?? before?.status ?? "pending"
  const name = nonEmptyOf(call["name"]) ?? nameInMeta(call["_meta"]) ?? before?.name ?? nameOf(call) ?? "tool"
  const isNew = before === undefined
  const described = isNew && nonEmptyOf(title) !== undefined
  const input = !isEmpty(rawInput)
    ? rawInput
    : described
      ? { title, ...(kind === undefined ? {} : { kind }), ...(isEmpty(locations) ? {} : { locations }) }
      : undefined
  const output = rawOutput ?? (isEmpty(content) ? undefined : content)
  const untold =
    saysMore(call["_meta"]) ||
    Object.keys(call).some((field) => !knownFields.has(field)) ||
    (rawOutput !== undefined && objectsOf(content).some(({ type }) => type !== "content"))
  const changed = isNew || input !== undefined || output !== undefined || status !== before.status
  return {
    turn: {
      ...turn,
      apart: true,
      tools:
        before?.name === name && before.status === status
          ? turn.tools
          : new Map(turn.tools).set(toolId, { name, status }),
    },
    events: changed
      ? [
          {
            type: "tool",
            toolId,
            name,
            ...(input === undefined ? {} : { input }),
            ...(output === undefined ? {} : { output }),
            status,
          },
        ]
      : nothing,
    untold: untold || !changed,
  }
}

const chunkText = (update: JsonObject): string | undefined => {
  const { type, text } = objectOf(update["content"])
  return type === "text" && typeof text === "string" ? text : undefined
}

const message = (turn: AcpTurn, update: JsonObject, answerChars: number): Addition => {
  const piece = chunkText(update)
  if (piece === undefined) return { turn, events: nothing, untold: true }
  if (piece === "") return { turn, events: nothing, untold: false }
  const messageId = nonEmptyOf(update["messageId"])
  const isOther = messageId === undefined || turn.messageId === undefined ? turn.apart : messageId !== turn.messageId
  const text = isOther && turn.text !== "" ? `\n\n${piece}` : piece
  const overflown = turn.overflown || turn.text.length + text.length > answerChars
  return {
    turn: { ...turn, messageId, apart: false, overflown, text: overflown ? turn.text : turn.text + text },
    events: [{ type: "delta", text }],
    untold: false,
  }
}

/**
 * claude-agent-acp takes turns of its own, upon the end of work in the background, also between a prompt and its answer. They
 * look like any other, and only their last word tells whose they were.
 */
const endsOwnTurn = (update: JsonObject): boolean => {
  const kind = nonEmptyOf(objectOf(objectOf(update["_meta"])["_claude/origin"])["kind"])
  return kind !== undefined && kind !== "human"
}

/** What was said so far was no answer to this turn's prompt. Its pieces are told already; its text is not. */
const afresh = (turn: AcpTurn): AcpTurn => ({ ...turn, text: "", overflown: false, messageId: undefined, apart: false })

/** What an update of the session adds to its turn. */
export const addUpdate = (turn: AcpTurn, update: JsonObject, answerChars: number): Addition => {
  switch (update["sessionUpdate"]) {
    case "agent_message_chunk":
      return message(turn, update, answerChars)
    case "agent_thought_chunk": {
      const text = chunkText(update)
      if (text === undefined) return { turn, events: nothing, untold: true }
      return { turn, events: text === "" ? nothing : [{ type: "thought", text }], untold: false }
    }
    case "tool_call":
    case "tool_call_update":
      return tool(turn, update)
    case "usage_update":
      return { turn: endsOwnTurn(update) ? afresh(turn) : turn, events: nothing, untold: true }
    default:
      return { turn, events: nothing, untold: true }
  }
}

/** Their names here, in the agent's answer, and as gemini-cli has them in a place of its own. */
const counted: ReadonlyArray<readonly [own: string, theirs: string, inQuota: string]> = [
  ["inputTokens", "inputTokens", "input_tokens"],
  ["outputTokens", "outputTokens", "output_tokens"],
  ["cacheReadTokens", "cachedReadTokens", ""],
  ["cacheWriteTokens", "cachedWriteTokens", ""],
  ["thoughtTokens", "thoughtTokens", ""],
  ["totalTokens", "totalTokens", ""],
]

/** What was spent since then. One sum that is less than before began from nothing. */
const spentSince = (before: number | null, cost: number | null): number => {
  if (before === null || cost === null) return 0
  const spent = cost >= before ? cost - before : cost
  // Differences of sums leave a tail of binary digits behind.
  return Number(spent.toFixed(12))
}

const usageOf = (answer: JsonObject, turn: AcpTurn, cost: number | null): Usage | undefined => {
  const said = objectOf(answer["usage"])
  const quota = objectOf(objectOf(objectOf(answer["_meta"])["quota"])["token_count"])
  const numbers = counted.flatMap(([own, theirs, inQuota]) => {
    const value = said[theirs] ?? quota[inQuota]
    return typeof value === "number" && Number.isFinite(value) ? [[own, value] as const] : []
  })
  const spent = spentSince(turn.costBefore, cost)
  if (spent > 0) numbers.push(["costUsd", spent])
  return numbers.length === 0 ? undefined : Object.fromEntries(numbers)
}

/** `cost`: of the whole conversation, in USD, as far as the agent said. */
export const endTurn = (turn: AcpTurn, answer: JsonObject, cost: number | null, answerChars: number): ProtocolEvent => {
  const stopReason = nonEmptyOf(answer["stopReason"]) ?? null
  // One agent says end_turn when it was told to give up.
  const cancelled = turn.cancelling || stopReason === "cancelled"
  const usage = usageOf(answer, turn, cost)
  const error = turn.overflown && !cancelled ? answerTooLong(answerChars) : undefined
  return {
    type: "ended",
    status: cancelled ? "cancelled" : error === undefined ? "completed" : "failed",
    text: turn.text,
    stopReason,
    ...(usage === undefined ? {} : { usage }),
    ...(error === undefined ? {} : { error }),
  }
}

export const agentError = ({ code, message: text, data }: RpcError): TurnError => ({
  tag: "AgentError",
  message: text,
  code,
  ...(data === undefined ? {} : { data }),
})

/** The agent answered the prompt with an error. One that was told to give up may say so in that way. */
export const failTurn = (turn: AcpTurn, error: RpcError, cost: number | null): ProtocolEvent => {
  const usage = usageOf({}, turn, cost)
  return {
    type: "ended",
    ...(turn.cancelling
      ? { status: "cancelled", stopReason: "cancelled" }
      : { status: "failed", stopReason: null, error: agentError(error) }),
    text: turn.text,
    ...(usage === undefined ? {} : { usage }),
  }
}
