/** A call of spawn in one form, whatever form it had. Checks no more than it needs; what Node refuses, Node shall refuse. Pure. */
import type { SpawnOptions } from "node:child_process"

/** What may be said beyond Node's own options. */
export interface GuardOptions {
  /**
   * `auto`: the strongest that works here, see `spawn.containment`. `guard`: throws ERR_CRECHE_CONTAINMENT where that cannot be
   * had. Default `auto`.
   */
  readonly containment?: "auto" | "guard"
  /**
   * Milliseconds from SIGTERM to SIGKILL for what is left when the command has ended, and for everything when this program is
   * gone. Default 0: SIGKILL at once.
   */
  readonly graceMs?: number
}

export interface SpawnCall {
  /** What is run: the shell, where one is asked for. */
  readonly file: string
  readonly args: ReadonlyArray<string>
  readonly options: SpawnOptions & GuardOptions
}

const isId = (id: unknown): boolean => id == null || (typeof id === "number" && id === (id | 0) && id >= 0)

/** Undefined: Node throws at this, and shall say why. */
export const readCall = (file: unknown, second: unknown, third: unknown): SpawnCall | undefined => {
  if (typeof file !== "string" || file === "" || file.includes("\0")) return undefined
  const hasArgs = Array.isArray(second) || second == null
  if (!hasArgs && typeof second !== "object") return undefined
  const args = (Array.isArray(second) ? second : []) as ReadonlyArray<string>
  const options = (hasArgs ? (third === undefined ? {} : third) : second) as SpawnOptions & GuardOptions
  if (typeof options !== "object" || options === null || Array.isArray(options)) return undefined
  if (args.some((arg) => typeof arg === "string" && arg.includes("\0"))) return undefined
  const { shell, argv0, uid, gid } = options
  if (shell != null && typeof shell !== "boolean" && typeof shell !== "string") return undefined
  if (argv0 != null && (typeof argv0 !== "string" || argv0.includes("\0"))) return undefined
  if (!isId(uid) || !isId(gid)) return undefined
  if (!shell) return { file, args, options }
  return { file: shell === true ? "/bin/sh" : shell, args: ["-c", [file, ...args].join(" ")], options }
}
