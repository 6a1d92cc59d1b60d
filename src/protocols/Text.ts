/**
 * `text`: a program that reads lines and prints what it likes. Owns the phases of its conversation (opening, idle,
 * answering) and the answer's text; where an answer ends is decided by a mark of `EndOfTurn`. Has no way to
 * cancel: the session actor, which steps it, replaces the incarnation.
 *
 * Ready: prompt, when the first one is seen; sentinel, when one sent at the start comes back; quiet, when stdout is
 * silent for that long after the start; delimiter, at once. What comes before is `output`.
 * The answer is what stands before the mark, less one line break at its end; the deltas joined are the same text.
 */
import { defaultQuietMs, type EndOfTurn } from "../domain/ProtocolSpec.ts"
import { promptText } from "../domain/PromptText.ts"
import { answerTooLong, defaultAnswerChars } from "./Answer.ts"
import { delimiterMark, promptMark, quietMark, sentinelMark, type Mark } from "./EndOfTurn.ts"
import type { Protocol, ProtocolEvent, Step } from "./Protocol.ts"

/**
 * A prompt of several lines makes a REPL print its own prompt once a line: the last one is known by the silence
 * behind it. Prompts of one line never wait.
 */
const settleMs = 50

interface Reading {
  readonly mark: Mark
  /** The last characters given on, as many as the mark wants to see. */
  readonly before: string
  readonly held: string
  /** Epoch ms of the last output; kept for `quietMs` alone. */
  readonly lastAt: number
}

export type TextState =
  | { readonly tag: "idle" }
  | ({ readonly tag: "opening" } & Reading)
  | ({
      readonly tag: "answering"
      readonly answer: string
      readonly tooLong: boolean
      /** Whether a mark must be followed by silence to count. */
      readonly settles: boolean
      /** The answer ends at this time with `text`, unless more output comes. */
      readonly settling: { readonly at: number; readonly text: string } | null
    } & Reading)

type Answering = TextState & { readonly tag: "answering" }

const idle: TextState = { tag: "idle" }

const withoutLineBreak = (text: string): string =>
  text.endsWith("\n") ? text.slice(0, text.endsWith("\r\n") ? -2 : -1) : text

const output = (data: string): ReadonlyArray<ProtocolEvent> => (data === "" ? [] : [{ type: "output", data }])
const delta = (text: string): ReadonlyArray<ProtocolEvent> => (text === "" ? [] : [{ type: "delta", text }])

const lookBack = (reading: Reading, give: string): string => {
  if (give === "" || reading.mark.context === 0) return reading.before
  return give.length >= reading.mark.context
    ? give.slice(-reading.mark.context)
    : (reading.before + give).slice(-reading.mark.context)
}

export const makeText = (
  endOfTurn: EndOfTurn = { quietMs: defaultQuietMs },
  /** More of an answer than this is passed on but not kept; its turn then fails as `AnswerTooLong`. */
  answerChars: number = defaultAnswerChars,
): Protocol<TextState> => {
  const quietMs = "quietMs" in endOfTurn ? endOfTurn.quietMs : null
  /** The mark of one turn, and what is sent for it. */
  const round: (token: string) => { readonly mark: Mark; readonly send: string } = (() => {
    if ("sentinel" in endOfTurn) {
      const { send, expect } = endOfTurn.sentinel
      return (token) => {
        const line = send.replaceAll("{id}", token)
        return { mark: sentinelMark(line, expect.replaceAll("{id}", token)), send: line + "\n" }
      }
    }
    const mark =
      "prompt" in endOfTurn
        ? promptMark(endOfTurn.prompt)
        : "delimiter" in endOfTurn
          ? delimiterMark(endOfTurn.delimiter)
          : quietMark
    return () => ({ mark, send: "" })
  })()

  const grow = (state: Answering, text: string): { readonly answer: string; readonly tooLong: boolean } => {
    const room = answerChars - state.answer.length
    return state.tooLong || text.length > room
      ? { answer: state.tooLong ? state.answer : state.answer + text.slice(0, room), tooLong: true }
      : { answer: state.answer + text, tooLong: false }
  }

  const finish = (state: Answering, last: string): ReadonlyArray<ProtocolEvent> => {
    const text = withoutLineBreak(last)
    const { answer, tooLong } = grow(state, text)
    return [
      ...delta(text),
      tooLong
        ? { type: "ended", status: "failed", text: answer, stopReason: null, error: answerTooLong(answerChars) }
        : { type: "ended", status: "completed", text: answer, stopReason: "end_turn" },
    ]
  }

  const opening = (state: TextState & { readonly tag: "opening" }, text: string, now: number): Step<TextState> => {
    const { give, held, end } = state.mark.scan(state.before, state.held + text)
    if (end !== null) {
      return { state: idle, events: [...output(give + end.text), { type: "ready" }, ...output(end.rest)] }
    }
    return { state: { ...state, before: lookBack(state, give), held, lastAt: now }, events: output(give) }
  }

  const answering = (state: Answering, text: string, now: number): Step<TextState> => {
    const { give, held, end } = state.mark.scan(state.before, state.held + text)
    const grown = grow(state, give)
    if (end !== null && !state.settles) {
      const events = finish({ ...state, ...grown }, end.text)
      return { state: idle, events: [...delta(give), ...events, ...output(end.rest)] }
    }
    const settling = end === null ? null : { at: now + settleMs, text: end.text }
    return {
      state: { ...state, ...grown, before: lookBack(state, give), held, lastAt: now, settling },
      events: settling === null ? delta(give) : [...delta(give), { type: "deadline", at: settling.at }],
    }
  }

  return {
    name: "text",
    framing: "text",
    start: ({ now }) => {
      if ("delimiter" in endOfTurn) return { state: idle, events: [{ type: "ready" }] }
      const { mark, send } = round(`ready${now.toString(36)}`)
      const events: Array<ProtocolEvent> = []
      if (send !== "") events.push({ type: "write", data: send })
      if (quietMs !== null) events.push({ type: "deadline", at: now + quietMs })
      return { state: { tag: "opening", mark, before: "", held: "", lastAt: now }, events }
    },
    prompt: (_state, prompt, token, now) => {
      const { mark, send } = round(token)
      const text = promptText(prompt)
      const events: Array<ProtocolEvent> = [{ type: "write", data: text + "\n" + send }]
      if (quietMs !== null) events.push({ type: "deadline", at: now + quietMs })
      const settles = "prompt" in endOfTurn && text.includes("\n")
      return {
        state: {
          tag: "answering",
          mark,
          before: "",
          held: "",
          lastAt: now,
          answer: "",
          tooLong: false,
          settles,
          settling: null,
        },
        events,
      }
    },
    frames: (state, frames, now) => {
      const text = frames.length === 1 ? (frames[0] ?? "") : frames.join("")
      if (text === "") return { state, events: [] }
      switch (state.tag) {
        case "idle":
          return { state, events: output(text) }
        case "opening":
          return opening(state, text, now)
        case "answering":
          return answering(state, text, now)
      }
    },
    eof: (state) => {
      switch (state.tag) {
        case "idle":
          return { state, events: [] }
        case "opening":
          return { state: { ...state, held: "" }, events: output(state.mark.remains(state.held)) }
        case "answering": {
          if (state.settling !== null) return { state: idle, events: finish(state, state.settling.text) }
          // A last line that lacks its line break may still be the mark.
          const { give, end } = state.mark.scan(state.before, state.held + "\n")
          if (end !== null)
            return { state: idle, events: [...delta(give), ...finish({ ...state, ...grow(state, give) }, end.text)] }
          const remains = state.mark.remains(state.held)
          return { state: { ...state, ...grow(state, remains), held: "" }, events: delta(remains) }
        }
      }
    },
    timer: (state, now) => {
      if (state.tag === "idle") return { state, events: [] }
      if (quietMs !== null) {
        // Not longer than one `quietMs` ahead, also when the clock was set back.
        const left = Math.min(quietMs, state.lastAt + quietMs - now)
        if (left > 0) return { state, events: [{ type: "deadline", at: now + left }] }
        return state.tag === "opening"
          ? { state: idle, events: [...output(state.held), { type: "ready" }] }
          : { state: idle, events: finish(state, state.held) }
      }
      if (state.tag === "opening" || state.settling === null) return { state, events: [] }
      if (now < state.settling.at) return { state, events: [{ type: "deadline", at: state.settling.at }] }
      return { state: idle, events: finish(state, state.settling.text) }
    },
  }
}
