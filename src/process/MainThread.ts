/**
 * Refuses to spawn from a Worker: when a Worker ends, nobody is left who would reap its children or hear of their exit,
 * and what the platform ties to the thread that forked (PR_SET_PDEATHSIG) fires although the program lives.
 */
import { isMainThread } from "node:worker_threads"

export class NotInWorker extends Error {
  readonly code = "ERR_CRECHE_WORKER"
  override readonly name = "NotInWorker"
}

/** Throws `NotInWorker`. `what` names what was called. */
export const requireMainThread = (what: string): void => {
  if (isMainThread) return
  throw new NotInWorker(
    `${what} works in the main thread alone: a Worker's children are nobody's once it has ended; call it there, or start a process instead of a Worker`,
  )
}
