/** How the children of a supervisor end: together, or in reverse start order, and nobody waits for a slow one for ever. */
import * as Effect from "effect/Effect"
import { isNode, type Member, standingOf, type SupervisorNode } from "./SupervisorTree.ts"
import type { Slot } from "./Slot.ts"

/** How long the ends of a tree go strictly one after the other, before the rest are told all at once (ms). */
export const orderedEndMs = 10_000

export interface Ending {
  /** Ends one session; answers when nothing of it is left. */
  readonly session: (slot: Slot) => Effect.Effect<void>
  /** On the steady clock: when those that are left are told together. */
  readonly until: number
  readonly now: () => number
}

/** Members that run, told in reverse start order; `ordered`: each gone before the next is told. A nested supervisor's whole tree ends in its place. */
export const endMembers = Effect.fnUntraced(function* (
  members: ReadonlyArray<Member>,
  ordered: boolean,
  ending: Ending,
): Effect.fn.Return<void> {
  const rest = members.toReversed()
  const end = (member: Member) => (isNode(member) ? endTree(member, ending) : ending.session(member))
  while (ordered && rest.length > 0) {
    const left = ending.until - ending.now()
    if (left <= 0) break
    // An unfinished end goes on by itself and is joined below.
    const done = yield* end(rest[0]!).pipe(Effect.timeoutOption(left))
    if (done._tag === "Some") rest.shift()
  }
  yield* Effect.forEach(rest, end, { concurrency: "unbounded", discard: true })
})

/** All that stands below a supervisor, as its strategy has it. */
export const endTree = (node: SupervisorNode, ending: Ending): Effect.Effect<void> =>
  Effect.suspend(() => endMembers([...node.members.values()], node.isOrdered, ending))

export const isUp = (member: Member): boolean => standingOf(member) === "up"
