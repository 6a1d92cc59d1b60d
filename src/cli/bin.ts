#!/usr/bin/env node
/**
 * The executable: parses the line, loads the one command it names, and ends with its exit code: 0 done, 1 it
 * failed, 2 wrong usage. Everything is imported late, so that a client command loads neither effect nor the
 * runtime.
 */
import * as module from "node:module"
import { homedir } from "node:os"
import { join } from "node:path"
import { fastParse } from "./FastParse.ts"
import type { ExitCode, Io } from "./Io.ts"
import type { Run } from "./Run.ts"
import { type CommandName, type Invocation, localCommands } from "./Commands.ts"

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  console.error(`creche needs Node 22.19 or later; this is ${process.version}`)
  process.exit(1)
}

// Not Node's default under the temporary directory, which others may write.
module.enableCompileCache(
  join(process.env["XDG_CACHE_HOME"] || join(process.env["HOME"] || homedir(), ".cache"), "creche"),
)

// Node 22 says at each start that its SQLite is experimental; the rest of its warnings are worth reading.
const printers = process.listeners("warning")
process.removeAllListeners("warning")
process.on("warning", (warning) => {
  if (warning.name === "ExperimentalWarning" && warning.message.includes("SQLite")) return
  for (const print of printers) print(warning)
})

const parse = async (argv: ReadonlyArray<string>, io: Io): Promise<Invocation | ExitCode> => {
  const fast = fastParse(argv)
  if (fast !== undefined) return fast
  const { version } = await import("../version.ts")
  if (argv.length === 1 && argv[0] === "--version") {
    await io.stdout(`creche ${version}\n`)
    return 0
  }
  const tree = await import("./CommandTree.ts")
  const parsed = await tree.parse(argv, { version, colours: io.colours })
  switch (parsed._tag) {
    case "Command":
      return parsed.invocation
    case "Help":
      await io.stdout(`${parsed.text}\n`)
      return 0
    case "Mistake": {
      const { asksForJson, failureLine, wrongUsage } = await import("./Failure.ts")
      if (asksForJson(argv)) io.stderr(failureLine(wrongUsage(parsed.text)))
      else io.stderr(`${parsed.text}\n`)
      return 2
    }
  }
}

const main = async (argv: ReadonlyArray<string>): Promise<ExitCode> => {
  const { processIo } = await import("./Io.ts")
  const io = processIo()
  const call = await parse(argv, io)
  if (typeof call === "number") return call
  const { loaders } = await import("./Dispatch.ts")
  try {
    if ((call.shared.url ?? call.shared.token) !== undefined && localCommands.includes(call.name)) {
      const { wrongUsage } = await import("./Failure.ts")
      throw wrongUsage("--url and --token are for commands that speak to a runtime that runs")
    }
    if ("init" in call.flags && (call.flags.init || process.pid === 1)) {
      const { enterInit } = await import("./InitGuard.ts")
      await enterInit(call as Invocation<"serve" | "stdio" | "mcp">, io)
    }
    if (call.name === "serve" || call.name === "stdio") (await import("./MemoryFlags.ts")).takeMemoryFlags()
    const { run } = await loaders[call.name]()
    return await (run as Run<CommandName>)(call, io)
  } catch (error) {
    const { report } = await import("./Failure.ts")
    return report(error, call, io)
  }
}

const code = await main(process.argv.slice(2))
// Not process.exit: what was written to a pipe must arrive first. Commands leave no handle open behind them.
process.exitCode = code
