/**
 * `ndjson`: one JSON value a line, both ways. The answer ends with the object whose fields equal those of `end`,
 * without `end` with the next object. A line that is no JSON object belongs to no answer. Has no way to cancel:
 * the session actor, which steps it, replaces the incarnation.
 *
 * To the child: a string that is itself a JSON object or array goes as it is, on one line; any other prompt as
 * `{"type":"prompt","prompt":TEXT}`, content blocks besides as `content`.
 * From it, in any object of a turn: `delta` (string) is a piece of the answer. In the object that ends it: `text`
 * (string) is the answer (else the deltas joined, else the turn's objects as they came, one a line), `usage`
 * (numbers), `stopReason`, `error` (string or object: the turn failed, `AgentError`), `cancelled: true`.
 *
 * With `conversation`, any object may report in `field` (string) the program's own id of the conversation; the newest
 * counts. `resume` and `fork` are the arguments that make a later process go on with it, `{id}` replaced.
 */
import { jsonLine, oneLine } from "../domain/JsonLine.ts"
import type { ConversationSpec } from "../domain/ProtocolSpec.ts"
import type { Prompt } from "../domain/Prompt.ts"
import { promptText } from "../domain/PromptText.ts"
import type { TurnError, Usage } from "../domain/Turn.ts"
import { answerTooLong, defaultAnswerChars } from "./Answer.ts"
import { jsonEquals } from "./JsonEquals.ts"
import { parseObject, stringOf, type JsonObject } from "./JsonObject.ts"
import type { Protocol, ProtocolEvent, Resumption, StartContext } from "./Protocol.ts"
import { StrayLines } from "./StrayLines.ts"

interface Conversing {
  /** The newest id that the program reported, or that its process goes on with; null before the first. */
  readonly conversation: string | null
}

interface Answering extends Conversing {
  readonly tag: "answering"
  /** The deltas joined; null before the first. */
  readonly deltas: string | null
  /** The objects' lines joined, while there is no delta. */
  readonly raw: string
  /** Deltas or lines went over the limit and are kept no longer. */
  readonly overflown: boolean
}

export type NdjsonState = ({ readonly tag: "idle" } & Conversing) | Answering

const idleIn = (conversation: string | null): NdjsonState => ({ tag: "idle", conversation })
const idle = idleIn(null)
const fresh: Answering = { tag: "answering", conversation: null, deltas: null, raw: "", overflown: false }

/** A longer id is none: it has to fit into an argument. */
const longestConversation = 8192

/** A JSON object or array on one line. Line breaks in JSON stand only between tokens; numbers keep every digit. */
const givenLine = (text: string): string | undefined => {
  const trimmed = text.trim()
  if (!trimmed.startsWith("{") && !trimmed.startsWith("[")) return undefined
  try {
    JSON.parse(trimmed)
    return oneLine(trimmed.replace(/[\r\n]+/g, " "))
  } catch {
    return undefined
  }
}

const encode = (prompt: Prompt): string => {
  if (typeof prompt === "string") return givenLine(prompt) ?? jsonLine({ type: "prompt", prompt })
  return jsonLine({ type: "prompt", prompt: promptText(prompt), content: prompt })
}

const usageOf = (value: unknown): Usage | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  const numbers = Object.entries(value).filter((entry): entry is [string, number] => typeof entry[1] === "number")
  return numbers.length === 0 ? undefined : Object.fromEntries(numbers)
}

const errorOf = (value: unknown): TurnError | undefined => {
  if (typeof value === "string") return { tag: "AgentError", message: value }
  if (typeof value !== "object" || value === null) return undefined
  const message = (value as JsonObject)["message"]
  return {
    tag: "AgentError",
    message: typeof message === "string" ? message : JSON.stringify(value),
    error: value,
  }
}

/** The id in an object's own field; undefined where there is none that a later process could be given. */
const conversationIn = (object: JsonObject, field: string): string | undefined => {
  const id = Object.hasOwn(object, field) ? object[field] : undefined
  return typeof id === "string" && id !== "" && id.length <= longestConversation && !id.includes("\0") ? id : undefined
}

const argsFor = ({ resume = [], fork = [] }: ConversationSpec, from: Resumption): ReadonlyArray<string> =>
  (from.fork ? fork : resume).map((arg) => arg.replaceAll("{id}", () => from.conversation))

const ended = (object: JsonObject, turn: Answering, answerChars: number): ProtocolEvent => {
  const own = stringOf(object["text"])
  const text = own ?? turn.deltas ?? turn.raw
  const usage = usageOf(object["usage"])
  const error =
    errorOf(object["error"]) ?? (own === undefined && turn.overflown ? answerTooLong(answerChars) : undefined)
  const cancelled = error === undefined && object["cancelled"] === true
  const status = error !== undefined ? "failed" : cancelled ? "cancelled" : "completed"
  const stopReason =
    stringOf(object["stopReason"]) ??
    (status === "completed" ? "end_turn" : status === "cancelled" ? "cancelled" : null)
  return {
    type: "ended",
    status,
    text,
    stopReason,
    ...(usage === undefined ? {} : { usage }),
    ...(error === undefined ? {} : { error }),
  }
}

export interface NdjsonOptions {
  readonly end?: Readonly<Record<string, unknown>>
  readonly conversation?: ConversationSpec
}

export const makeNdjson = (
  { end, conversation }: NdjsonOptions = {},
  /** More of an answer than this is passed on but not kept; a turn that needs it then fails as `AnswerTooLong`. */
  answerChars: number = defaultAnswerChars,
): Protocol<NdjsonState> => {
  const wanted = Object.entries(end ?? {})
  const isEnd = (object: JsonObject): boolean =>
    wanted.every(([field, value]) => Object.hasOwn(object, field) && jsonEquals(object[field], value))

  const collect = (turn: Answering, line: string, delta: string | undefined): Answering => {
    if (turn.deltas === null && delta === undefined) {
      if (turn.overflown) return turn
      const raw = turn.raw === "" ? line : turn.raw + "\n" + line
      return raw.length > answerChars ? { ...turn, raw: "", overflown: true } : { ...turn, raw }
    }
    if (delta === undefined) return turn
    // The first delta decides that the answer is the deltas: lines that overflowed before it do not matter.
    if (turn.deltas !== null && turn.overflown) return turn
    const deltas = (turn.deltas ?? "") + delta
    return deltas.length > answerChars
      ? { ...turn, deltas: turn.deltas ?? "", raw: "", overflown: true }
      : { ...turn, deltas, raw: "", overflown: false }
  }

  return {
    name: "ndjson",
    framing: "lines",
    ...(conversation?.resume === undefined && conversation?.fork === undefined
      ? undefined
      : { args: ({ from }: Pick<StartContext, "from">) => (from === null ? [] : argsFor(conversation, from)) }),
    canFork: conversation?.fork !== undefined,
    // A fork that still reports its parent's id has none of its own yet.
    start: ({ from }) => ({
      state: from === null ? idle : idleIn(from.conversation),
      events: [{ type: "ready" }],
    }),
    prompt: (state, prompt) => ({
      state: state.conversation === null ? fresh : { ...fresh, conversation: state.conversation },
      events: [{ type: "write", data: encode(prompt) + "\n" }],
    }),
    frames: (before, frames) => {
      let state = before
      const events: Array<ProtocolEvent> = []
      const stray = new StrayLines(events)
      for (const line of frames) {
        const message = parseObject(line)
        if (message === undefined) {
          stray.add(line)
          continue
        }
        stray.flush()
        events.push({ type: "native", message })
        const id = conversation === undefined ? undefined : conversationIn(message, conversation.field)
        if (id !== undefined && id !== state.conversation) {
          events.push({ type: "conversation", id })
          state = { ...state, conversation: id }
        }
        if (state.tag === "idle") continue
        const delta = stringOf(message["delta"])
        if (delta !== undefined && delta !== "") events.push({ type: "delta", text: delta })
        state = collect(state, line, delta)
        if (!isEnd(message)) continue
        events.push(ended(message, state, answerChars))
        state = state.conversation === null ? idle : idleIn(state.conversation)
      }
      stray.flush()
      return { state, events }
    },
    eof: (state) => ({ state, events: [] }),
    timer: (state) => ({ state, events: [] }),
  }
}
