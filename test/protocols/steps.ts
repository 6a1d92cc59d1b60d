/** Steps a protocol by hand: what it said, and what it made of a stream. For unit and property tests; starts nothing. */
import type { Prompt } from "../../src/domain/Prompt.ts"
import type { Protocol, ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

export type Ended = ProtocolEvent & { readonly type: "ended" }

/** A protocol in some state, and every event since the last `take`. */
export const stepping = (protocol: Protocol, now = 1_000) => {
  let clock = now
  let events: Array<ProtocolEvent> = []
  let state: unknown
  let due: number | null = null
  const run = (step: Step<unknown>): ReadonlyArray<ProtocolEvent> => {
    state = step.state
    events.push(...step.events)
    for (const event of step.events) if (event.type === "deadline") due = event.at
    return step.events
  }
  const api = {
    start: (from: Resumption | null = null) =>
      run(protocol.start({ from, freshId: "fresh-1", cwd: "/work", now: clock, costUsd: null })),
    prompt: (prompt: Prompt, token = "tok1") => run(protocol.prompt(state, prompt, token, clock)),
    frames: (...frames: ReadonlyArray<string>) => run(protocol.frames(state, frames, clock)),
    eof: () => run(protocol.eof(state)),
    /** Moves the clock and calls the timer at the deadlines that it passes, as the session actor does. */
    advance: (ms: number) => {
      const until = clock + ms
      while (due !== null && due <= until) {
        clock = Math.max(clock, due)
        due = null
        run(protocol.timer(state, clock))
      }
      clock = until
    },
    take: () => {
      const taken = events
      events = []
      return taken
    },
  }
  return api
}

export const joined = (events: ReadonlyArray<ProtocolEvent>, type: "delta" | "output" | "write"): string =>
  events
    .map((event) =>
      event.type !== type ? "" : event.type === "delta" ? event.text : "data" in event ? event.data : "",
    )
    .join("")

export const endedOf = (events: ReadonlyArray<ProtocolEvent>): ReadonlyArray<Ended> =>
  events.filter((event): event is Ended => event.type === "ended")

/** `text` cut at the given offsets (any order, any number). */
export const cut = (text: string, offsets: ReadonlyArray<number>): ReadonlyArray<string> => {
  const at = [...new Set(offsets.map((offset) => (text.length === 0 ? 0 : offset % text.length)))].toSorted(
    (a, b) => a - b,
  )
  const pieces: Array<string> = []
  let from = 0
  for (const offset of [...at, text.length]) {
    if (offset > from) pieces.push(text.slice(from, offset))
    from = offset
  }
  return pieces
}

/** A seed that is printed with a failure; CRECHE_SEED repeats a run. */
export const seed = Number(process.env["CRECHE_SEED"] ?? Date.now() % 0x7fffffff)
