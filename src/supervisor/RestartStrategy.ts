/**
 * Whom the restart of one child touches, as a pure function of the strategy and the children in start order. What is asked to
 * end, and when, and how a start that fails is dealt with, is `GroupRestarts`'.
 */
import type { RestartType } from "../domain/SessionSpec.ts"
import type { RestartStrategy } from "../domain/SupervisorStore.ts"

/**
 * `up`: it runs, or is about to, or waits for a restart. `finished`: a transient child that ended normally by itself.
 * `resting`: stopped by a client, asleep, given up, or a temporary one that ended: nobody starts it but who asks for it.
 */
export type Standing = "up" | "finished" | "resting"

export interface Child<Key> {
  readonly key: Key
  /** A supervisor counts as permanent. */
  readonly restart: RestartType
  readonly standing: Standing
}

export interface GroupRestart<Key> {
  /** To be ended first, in reverse start order. The one that crashed is not among them. */
  readonly end: ReadonlyArray<Key>
  /** To be started then, in start order. */
  readonly start: ReadonlyArray<Key>
}

/** `crashed` is to be started again. Temporary siblings end with the group and are not started again. */
export const groupRestart = <Key>(
  strategy: RestartStrategy,
  children: ReadonlyArray<Child<Key>>,
  crashed: Key,
): GroupRestart<Key> => {
  if (strategy === "one_for_one") return { end: [], start: [crashed] }
  const at = children.findIndex(({ key }) => key === crashed)
  // It was removed in the meantime.
  if (at < 0) return { end: [], start: [] }
  const group = strategy === "one_for_all" ? children : children.slice(at)
  const comesBack = ({ key, restart, standing }: Child<Key>) =>
    key === crashed || (standing === "up" && restart !== "temporary") || standing === "finished"
  return {
    end: group
      .filter(({ key, standing }) => key !== crashed && standing === "up")
      .map(({ key }) => key)
      .toReversed(),
    start: group.filter(comesBack).map(({ key }) => key),
  }
}

/** Who is started with a supervisor that is started anew: those that a group restart of all would start. */
export const startedWith = <Key>(children: ReadonlyArray<Child<Key>>): ReadonlyArray<Key> =>
  children
    .filter(({ restart, standing }) => (standing === "up" && restart !== "temporary") || standing === "finished")
    .map(({ key }) => key)
