/**
 * `creche guard`: becomes the guard, so that no Node stays. The installed command does not come by here where the guard was built:
 * `launcher.sh` starts it by itself, and then descriptors beyond the third reach the command too, which Node closes.
 */
import { findGuard } from "../../spawn/Containment.ts"
import { wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"

/** As the guard itself says that it cannot work. */
const cannotGuard = 125

export const run: Run<"guard"> = async ({ flags, commandLine }, io) => {
  if (commandLine.length === 0) throw wrongUsage("what shall it run? creche guard [OPTION…] -- COMMAND [ARGUMENT…]")
  const { guard, detail } = findGuard()
  if (guard === undefined || process.execve === undefined) {
    io.stderr(
      `creche guard: ${guard === undefined ? detail : "this Node cannot become another program: use 22.19 or later"}\n`,
    )
    process.exit(cannotGuard)
  }
  const [program, ...words] = guard
  words.push("--parent", String(flags.parent ?? process.ppid))
  if (flags["grace-ms"] !== undefined) words.push("--grace-ms", String(flags["grace-ms"]))
  if (flags.signal !== undefined) words.push("--signal", flags.signal)
  if (flags.group) words.push("--group")
  for (const rewrite of flags.rewrite) words.push("--rewrite", rewrite)
  return process.execve(program, [program, ...words, "--", ...commandLine], process.env)
}
