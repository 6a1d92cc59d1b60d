/**
 * What is left where there is no guard: a process group for each child, ended when the child has ended or when this program
 * does, SIGKILL aside. A child that is given a terminal stays in the program's own group, or Ctrl-C would not reach it.
 */
import type { ChildProcess, SpawnOptions } from "node:child_process"
import { isatty } from "node:tty"
import { atExit } from "../process/AtExit.ts"
import type { SpawnCall } from "./SpawnCall.ts"

const isTerminal = (stream: unknown, at: number): boolean => {
  if (stream === "inherit") return isatty(at)
  if (typeof stream === "number") return isatty(stream)
  return typeof stream === "object" && stream !== null && "isTTY" in stream && stream.isTTY === true
}

const takesTerminal = ({ options: { stdio } }: SpawnCall): boolean =>
  (Array.isArray(stdio) ? stdio : [stdio, stdio, stdio]).some(isTerminal)

type NodeSpawn = (file: string, args: ReadonlyArray<string>, options: SpawnOptions) => ChildProcess

export const spawnInGroup = (nodeSpawn: NodeSpawn, call: SpawnCall): ChildProcess => {
  const { containment: _containment, graceMs: _graceMs, shell: _shell, ...options } = call.options
  const detached = options.detached ?? (process.platform !== "win32" && !takesTerminal(call))
  const child = nodeSpawn(call.file, [...call.args], { ...options, detached })
  const { pid } = child
  if (pid === undefined) return child
  const end = () => {
    try {
      process.kill(detached && process.platform !== "win32" ? -pid : pid, "SIGKILL")
    } catch {
      // ESRCH: nobody is left.
    }
  }
  const forget = atExit(end)
  child.once("exit", () => {
    forget()
    // Its number may be somebody else's by now; that of a group that has members is not.
    if (detached) end()
  })
  return child
}
