/** Why a subprocess ended. The first cause wins and is recorded once. */

export type ExitReason =
  | { readonly kind: "exited"; readonly code: number; readonly detail?: string; readonly at: number }
  | { readonly kind: "signaled"; readonly signal: string; readonly detail?: string; readonly at: number }
  | { readonly kind: "spawnFailed"; readonly detail: string; readonly at: number }
  | {
      readonly kind: "killedByRuntime"
      readonly code?: number
      readonly signal?: string
      readonly detail: string
      readonly at: number
    }

/** OTP's "normal": exit code 0. A stop that was asked for is decided by the session, not by the exit. */
export const isNormal = (exit: ExitReason): boolean => exit.kind === "exited" && exit.code === 0

/** One phrase for people: `exit code 3`, `signal SIGKILL`. */
export const describeExit = (exit: ExitReason): string => {
  switch (exit.kind) {
    case "exited":
      return `exit code ${exit.code}`
    case "signaled":
      return `signal ${exit.signal}`
    case "spawnFailed":
      return `spawn failed: ${exit.detail}`
    case "killedByRuntime":
      return `ended by the runtime: ${exit.detail}`
  }
}
