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
 */
import { promptText, type Prompt } from "../domain/Prompt.ts"
import type { TurnError, Usage } from "../domain/Turn.ts"
import { answerTooLong, defaultAnswerChars } from "./Answer.ts"
import { jsonEquals } from "./JsonEquals.ts"
import type { Protocol, ProtocolEvent } from "./Protocol.ts"

type JsonObject = { readonly [field: string]: unknown }

interface Answering {
  readonly tag: "answering"
  /** The deltas joined; null before the first. */
  readonly deltas: string | null
  /** The objects' lines joined, while there is no delta. */
  readonly raw: string
  /** Deltas or lines went over the limit and are kept no longer. */
  readonly overflown: boolean
}

export type NdjsonState = { readonly tag: "idle" } | Answering

const idle: NdjsonState = { tag: "idle" }
const fresh: Answering = { tag: "answering", deltas: null, raw: "", overflown: false }

const parseObject = (line: string): JsonObject | undefined => {
  const first = line.charCodeAt(0)
  if (first !== 0x7b && first !== 0x20 && first !== 0x09) return undefined
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
  } catch {
    return undefined
  }
}

/** A JSON object or array on one line. Line breaks in JSON stand only between tokens; numbers keep every digit. */
const jsonLine = (text: string): string | undefined => {
  const trimmed = text.trim()
  if (!trimmed.startsWith("{") && !trimmed.startsWith("[")) return undefined
  try {
    JSON.parse(trimmed)
    return trimmed.replace(/[\r\n]+/g, " ")
  } catch {
    return undefined
  }
}

const encode = (prompt: Prompt): string => {
  if (typeof prompt === "string") return jsonLine(prompt) ?? JSON.stringify({ type: "prompt", prompt })
  return JSON.stringify({ type: "prompt", prompt: promptText(prompt), content: prompt })
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

const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

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

export const makeNdjson = (
  end: Readonly<Record<string, unknown>> | undefined,
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
      ? { tag: "answering", deltas: turn.deltas ?? "", raw: "", overflown: true }
      : { tag: "answering", deltas, raw: "", overflown: false }
  }

  return {
    name: "ndjson",
    framing: "lines",
    start: () => ({ state: idle, events: [{ type: "ready" }] }),
    prompt: (_state, prompt) => ({ state: fresh, events: [{ type: "write", data: encode(prompt) + "\n" }] }),
    frames: (before, frames) => {
      let state = before
      const events: Array<ProtocolEvent> = []
      let output: Array<string> = []
      const flush = () => {
        if (output.length === 0) return
        events.push({ type: "output", data: output.join("\n") + "\n" })
        output = []
      }
      for (const line of frames) {
        const message = parseObject(line)
        if (message === undefined) {
          output.push(line)
          continue
        }
        flush()
        events.push({ type: "native", message })
        if (state.tag === "idle") continue
        const delta = stringOf(message["delta"])
        if (delta !== undefined && delta !== "") events.push({ type: "delta", text: delta })
        state = collect(state, line, delta)
        if (!isEnd(message)) continue
        events.push(ended(message, state, answerChars))
        state = idle
      }
      flush()
      return { state, events }
    },
    eof: (state) => ({ state, events: [] }),
    timer: (state) => ({ state, events: [] }),
  }
}
