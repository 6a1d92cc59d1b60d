/** Steps a JSON-RPC protocol by hand, in messages instead of bytes: what it said, and what it wrote. Starts nothing. */
import type { Prompt } from "../../src/domain/Prompt.ts"
import { makeFraming } from "../../src/process/Framing.ts"
import type { Protocol, ProtocolEvent, Step } from "../../src/protocols/Protocol.ts"

export type Message = { readonly [field: string]: unknown }

export interface Said {
  readonly events: ReadonlyArray<ProtocolEvent>
  /** The messages for the child. */
  readonly sent: ReadonlyArray<Message>
}

export const talking = <S>(protocol: Protocol<S>) => {
  let state: S
  const framing = makeFraming(protocol.framing, {
    maxBytes: 1 << 26,
    onDropped: ({ detail }) => {
      throw new Error(`it wrote what is no frame: ${detail}`)
    },
  })
  const run = (step: Step<S>): Said => {
    state = step.state
    const texts = step.events.flatMap((event) =>
      event.type === "write" ? framing.push(Buffer.from(event.data)) : ([] as ReadonlyArray<string>),
    )
    return {
      events: step.events.filter(({ type }) => type !== "write"),
      sent: texts.map((text) => JSON.parse(text) as Message),
    }
  }
  return {
    start: (cwd = "/place/of work") =>
      run(protocol.start({ from: null, freshId: "fresh-1", cwd, now: 1, costUsd: null })),
    /** A string goes as it is, anything else as JSON. */
    prompt: (prompt: string | object) =>
      run(protocol.prompt(state, typeof prompt === "string" ? prompt : JSON.stringify(prompt), "tok1", 2)),
    blocks: (prompt: Prompt) => run(protocol.prompt(state, prompt, "tok1", 2)),
    says: (...messages: ReadonlyArray<unknown>) =>
      run(
        protocol.frames(
          state,
          messages.map((message) => JSON.stringify(message)),
          3,
        ),
      ),
    frames: (...frames: ReadonlyArray<string>) => run(protocol.frames(state, frames, 3)),
    cancel: () => run(protocol.cancel!(state)),
    answer: (request: string, option: string, result?: unknown) =>
      run(protocol.answer!(state, request, option, result)),
    /** Its steps in order, each by what it writes or by its type. */
    politeStop: () => {
      const { state: after, steps } = protocol.politeStop!(state)
      state = after
      return steps.map((step) => {
        if (step.type !== "write") return step.type
        const frames = framing.push(Buffer.from(step.data))
        return { sent: frames.map((text) => JSON.parse(text) as Message), until: step.until }
      })
    },
  }
}
