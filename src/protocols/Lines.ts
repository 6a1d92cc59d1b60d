/**
 * `lines`: one prompt is one line to stdin, and the next line of stdout is its answer. Refuses a prompt that
 * holds a newline: its lines would be answered one by one, and every later answer would belong to the wrong turn.
 * The session actor steps it; this is the shortest way through a session, so its states are two constants.
 */
import type { Prompt } from "../domain/Prompt.ts"
import { promptText } from "../domain/PromptText.ts"
import type { Protocol, ProtocolEvent, Step } from "./Protocol.ts"

type LinesState = "idle" | "answering"

const nothing: ReadonlyArray<ProtocolEvent> = []
const ready: Step<LinesState> = { state: "idle", events: [{ type: "ready" }] }

const output = (frames: ReadonlyArray<string>, from: number): ProtocolEvent => ({
  type: "output",
  data: (from === 0 ? frames : frames.slice(from)).join("\n") + "\n",
})

const promptHasNewline: Step<LinesState> = {
  state: "idle",
  events: [
    {
      type: "ended",
      status: "failed",
      text: "",
      stopReason: null,
      error: {
        tag: "PromptHasNewline",
        message:
          'the protocol "lines" answers one line with one line: send each line as a turn of its own, or use the protocol "text", which takes prompts of many lines',
      },
    },
  ],
}

export const lines: Protocol<LinesState> = {
  name: "lines",
  framing: "lines",
  start: () => ready,
  prompt: (_state, prompt: Prompt) => {
    const text = typeof prompt === "string" ? prompt : promptText(prompt)
    if (text.includes("\n")) return promptHasNewline
    return { state: "answering", events: [{ type: "write", data: text + "\n" }] }
  },
  frames: (state, frames) => {
    const text = frames[0]
    if (text === undefined) return { state, events: nothing }
    if (state === "idle") return { state, events: [output(frames, 0)] }
    const events: Array<ProtocolEvent> = []
    if (text !== "") events.push({ type: "delta", text })
    events.push({ type: "ended", status: "completed", text, stopReason: "end_turn" })
    if (frames.length > 1) events.push(output(frames, 1))
    return { state: "idle", events }
  },
  eof: (state) => ({ state, events: nothing }),
  timer: (state) => ({ state, events: nothing }),
}
