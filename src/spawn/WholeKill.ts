/**
 * `kill("SIGKILL")` of a guarded child: nobody can pass SIGKILL on, and a guard that it ends is gone before its tree. So the guard is
 * told by another signal, ends everything, and then itself as by SIGKILL: `exit` still means that nothing is left.
 */
import type { ChildProcess } from "node:child_process"
import { constants } from "node:os"

/** No program has a use for it; undefined on the few machines that lack it, where SIGKILL stays what it is. */
const order: NodeJS.Signals | undefined = "SIGSTKFLT" in constants.signals ? "SIGSTKFLT" : undefined

/** What the guard is told of it. */
export const killOrder: ReadonlyArray<string> =
  order === undefined ? [] : ["--rewrite", `${constants.signals[order]}:${constants.signals.SIGKILL}`]

const isKill = (signal: unknown): boolean =>
  signal === constants.signals.SIGKILL || (typeof signal === "string" && signal.toUpperCase() === "SIGKILL")

export const killWhole = (child: ChildProcess): void => {
  if (order === undefined) return
  const kill = child.kill.bind(child)
  const emit = child.emit.bind(child) as (event: string, ...args: ReadonlyArray<unknown>) => boolean
  let ordered = false
  Object.assign(child, {
    kill: (signal?: NodeJS.Signals | number): boolean => {
      if (!isKill(signal)) return kill(signal)
      if (!kill(order)) return false
      ordered = true
      // One that somebody has stopped shall hear it too.
      kill("SIGCONT")
      return true
    },
    emit: (event: string, ...args: ReadonlyArray<unknown>): boolean => {
      if (event !== "exit" || !ordered || args[1] !== order) return emit(event, ...args)
      // It came before the guard listened to anything, and before there was a tree.
      Object.assign(child, { signalCode: "SIGKILL" })
      return emit(event, args[0], "SIGKILL")
    },
  })
}
