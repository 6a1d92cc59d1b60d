/**
 * Terminate-then-wait as a pure state machine: close stdin and wait, signal the group and wait the grace,
 * SIGKILL the tree, wait until it is empty. Time is an argument; a subprocess carries out the actions and
 * feeds back what happened. Controls keep working at every stage: a later brutal kill cuts the grace short.
 */
import type { Signal, ShutdownSpec } from "../domain/SessionSpec.ts"

/** How long after SIGKILL the tree may take to report itself empty, or its survivors, before it is given up, in ms. */
export const abandonAfterMs = 10_000

type Polite = Exclude<ShutdownSpec, "brutal_kill">

export type TerminationState =
  | { readonly _tag: "Running" }
  /** Stdin is closed; the signal follows at `at`. */
  | { readonly _tag: "StdinClosed"; readonly at: number; readonly shutdown: Polite }
  /** The signal is sent; SIGKILL follows at `at`. */
  | { readonly _tag: "Grace"; readonly at: number }
  /** SIGKILL is sent; without an end at `at` the subprocess is given up. */
  | { readonly _tag: "Killing"; readonly at: number }
  | { readonly _tag: "Abandoned" }
  | { readonly _tag: "Closed" }

export type TerminationEvent =
  | { readonly type: "requested"; readonly shutdown: ShutdownSpec; readonly now: number }
  | { readonly type: "elapsed"; readonly now: number }
  /** The leader ended; whoever holds the tree now ends its strays without being asked. */
  | { readonly type: "leaderExited"; readonly now: number }
  | { readonly type: "closed" }

export type TerminationAction =
  | { readonly type: "closeStdin" }
  | { readonly type: "signal"; readonly signal: Signal }
  | { readonly type: "killTree" }
  | { readonly type: "abandon" }

export interface TerminationStep {
  readonly state: TerminationState
  readonly actions: ReadonlyArray<TerminationAction>
}

export const running: TerminationState = { _tag: "Running" }
const closed: TerminationState = { _tag: "Closed" }
const abandoned: TerminationState = { _tag: "Abandoned" }

const stay = (state: TerminationState): TerminationStep => ({ state, actions: [] })

const kill = (now: number): TerminationStep => ({
  state: { _tag: "Killing", at: now + abandonAfterMs },
  actions: [{ type: "killTree" }],
})

const signal = (shutdown: Polite, now: number): TerminationStep => ({
  state: { _tag: "Grace", at: now + shutdown.graceMs },
  actions: [{ type: "signal", signal: shutdown.signal }],
})

const begin = (shutdown: ShutdownSpec, now: number): TerminationStep => {
  if (shutdown === "brutal_kill") return kill(now)
  if (shutdown.stdinEofMs === 0) return signal(shutdown, now)
  return {
    state: { _tag: "StdinClosed", at: now + shutdown.stdinEofMs, shutdown },
    actions: [{ type: "closeStdin" }],
  }
}

/** When the machine wants to be called with `elapsed`; null: not at all. */
export const deadlineOf = (state: TerminationState): number | null => ("at" in state ? state.at : null)

export const terminationStep = (state: TerminationState, event: TerminationEvent): TerminationStep => {
  switch (event.type) {
    case "closed":
      return stay(closed)
    case "leaderExited":
      // The strays may be slow to die too: from here on the same patience as after a SIGKILL of our own.
      return state._tag === "Running" || state._tag === "StdinClosed" || state._tag === "Grace"
        ? stay({ _tag: "Killing", at: event.now + abandonAfterMs })
        : stay(state)
    case "requested":
      switch (state._tag) {
        case "Running":
          return begin(event.shutdown, event.now)
        case "StdinClosed":
        case "Grace":
          return event.shutdown === "brutal_kill" ? kill(event.now) : stay(state)
        case "Killing":
        case "Abandoned":
        case "Closed":
          return stay(state)
      }
      break
    case "elapsed": {
      const at = deadlineOf(state)
      if (at === null || event.now < at) return stay(state)
      switch (state._tag) {
        case "StdinClosed":
          return signal(state.shutdown, event.now)
        case "Grace":
          return kill(event.now)
        case "Killing":
          return { state: abandoned, actions: [{ type: "abandon" }] }
        case "Running":
        case "Abandoned":
        case "Closed":
          return stay(state)
      }
    }
  }
}
