/**
 * How a child is asked to end, as data: steps that a protocol states and the session takes, one after the other, before its
 * own `shutdown` begins. What a step leaves running meets the next one; what all of them leave, the signal and SIGKILL.
 */
import type { Signal } from "../domain/SessionSpec.ts"

export type PoliteStep = {
  /** The next step follows after this long (ms), or earlier as `until` says. */
  readonly patienceMs: number
} & (
  | {
      readonly type: "write"
      readonly data: string
      /** What makes the next step follow at once: the end of the running turn, an event `settled`, or nothing but the child's end. */
      readonly until: "turn" | "settled" | "exit"
    }
  | { readonly type: "closeStdin" }
  | { readonly type: "signal"; readonly signal: Signal }
)

/** The steps, and the protocol's state while they are taken: the child is read meanwhile, and may be answered. */
export interface PoliteStop<S> {
  readonly state: S
  readonly steps: ReadonlyArray<PoliteStep>
}

/** A child that was interrupted ends its tools first; one that was told to end, or whose stdin ended, saves what it has. */
export const patienceMs = 1_000

export const closeStdin: PoliteStep = { type: "closeStdin", patienceMs }
