/** How a guard tells of its command's end, as the reason that a session shows. Pure; of both forms of the guard. */
import { constants } from "node:os"
import type { ExitReason } from "../domain/ExitReason.ts"
import type { ResourceLimits } from "./Command.ts"
import type { GuardEvent } from "./GuardProtocol.ts"

/** The first name of a number is the one that people use: SIGABRT, not its alias SIGIOT. */
const signalNames = new Map(
  Object.entries(constants.signals)
    .map(([name, number]) => [number as number, name] as const)
    .toReversed(),
)

/** Says which limit, how much of it there was, and how much may be. */
export const overLimit = (
  { limit, amount }: Extract<GuardEvent, { type: "limit" }>,
  limits: ResourceLimits | undefined,
): string =>
  limit === "processes"
    ? `limits.processes: more than ${limits?.processes ?? amount - 1} at once`
    : `limits.memoryBytes: ${amount} bytes, and ${limits?.memoryBytes ?? "fewer"} are allowed`

/** `over`: why its guard ended it, where it took more than it may. */
export const exitOf = (
  event: Extract<GuardEvent, { type: "exited" | "signaled" }>,
  over: string | undefined,
): ExitReason => {
  const at = Date.now()
  if (event.type === "exited") {
    return over === undefined
      ? { kind: "exited", code: event.code, at }
      : { kind: "killedByRuntime", code: event.code, detail: over, at }
  }
  const signal = signalNames.get(event.signal) ?? `signal ${event.signal}`
  return over === undefined ? { kind: "signaled", signal, at } : { kind: "killedByRuntime", signal, detail: over, at }
}
