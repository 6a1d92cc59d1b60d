/**
 * `--init`: this process becomes a guard, and the runtime a child of it. What a killed runtime, spawn server or guard leaves is
 * adopted there, ended and reaped. As PID 1, in a container, it is done without being asked, for the first process of a
 * namespace is given every orphan, and Node reaps none that it did not start.
 */
import { spawn } from "node:child_process"
import { constants } from "node:os"
import { findGuardBinary } from "../process/GuardBinary.ts"
import type { Invocation } from "./Commands.ts"
import { CommandFailure, wrongUsage } from "./Failure.ts"
import { memoryFlags } from "./MemoryFlags.ts"
import type { Io } from "./Io.ts"

/**
 * How long the guards of a runtime that has ended may take to end their trees and tidy up, in ms, before all that is left
 * is killed: they are quick, unless something cannot be killed.
 */
const graceMs = 2_000

const forwarded = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const

const isFlag = (word: string): boolean => word === "--init"

/** What runs instead: the guard, and this very command below it, without the flag. */
const commandLine = (guard: string): ReadonlyArray<string> => {
  const [script = "", ...words] = process.argv.slice(1)
  const separator = words.indexOf("--")
  const own = separator < 0 ? words : words.slice(0, separator)
  const rest = separator < 0 ? [] : words.slice(separator)
  return [
    guard,
    ...["--run", "--over-runtime", "--parent", "0", "--grace-ms", String(graceMs), "--"],
    // The flags at once, which would otherwise make it begin once more.
    ...[process.execPath, ...memoryFlags, ...process.execArgv, script],
    ...own.filter((word) => !isFlag(word)),
    ...rest,
  ]
}

/**
 * Returns where the command shall run in this process; otherwise this process becomes, or waits for, another one, and what
 * follows never happens. Throws where it was asked for and cannot be had. Called before anything of the runtime is loaded.
 */
export const enterInit = async (call: Invocation<"serve" | "stdio" | "mcp">, io: Io): Promise<void> => {
  const wanted = call.flags.init
  if (!wanted && process.pid !== 1) return
  if ("embedded" in call.flags && !call.flags.embedded) {
    if (wanted) throw wrongUsage("--init goes with --embedded: here is no runtime of its own")
    return
  }
  const found = process.platform === "linux" ? findGuardBinary(io.env) : { found: false as const, detail: notHere }
  if (!found.found) {
    if (wanted) throw new CommandFailure(`--init: ${found.detail}`, { tag: "Unsupported", what: "--init" })
    io.stderr(`creche: as PID 1 without a guard, orphans stay zombies: ${found.detail}\n`)
    return
  }
  const argv = commandLine(found.path)
  if (process.execve !== undefined) process.execve(found.path, argv, process.env)
  await runInstead(argv)
}

const notHere = "only Linux lets a guard adopt what others leave"

/** For a Node that cannot become another program: it stays and does nothing but pass signals on and the exit code back. */
const runInstead = ([file = "", ...args]: ReadonlyArray<string>): Promise<never> =>
  new Promise((_, reject) => {
    // Whoever kills this process means the runtime: the guard watches its parent then.
    const parent = args.indexOf("--parent")
    args.splice(parent, 2)
    const child = spawn(file, args, { stdio: "inherit" })
    for (const signal of forwarded) process.on(signal, () => child.kill(signal))
    child.on("error", reject)
    child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal!]))
  })
