/** The params of `session/ask` and `session/tell` from their command lines. */
import { CommandFailure, wrongUsage } from "./Failure.ts"
import type { Invocation } from "./Commands.ts"
import type { Io } from "./Io.ts"

export const turnRequest = async (call: Invocation<"ask"> | Invocation<"tell">, io: Io) => {
  const { prompt, session } = call.args
  const { key, "timeout-ms": timeoutMs } = call.flags
  if (timeoutMs === 0) throw wrongUsage("--timeout-ms wants at least 1")
  return {
    session,
    prompt: prompt.length === 1 && prompt[0] === "-" ? await fromStdin(io) : prompt.join(" "),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(key === undefined ? {} : { idempotencyKey: key }),
  }
}

/** Without the one newline that ends it, as the shell's `$(…)` does. */
const fromStdin = async (io: Io): Promise<string> => {
  const text = (await io.stdin()).replace(/\r?\n$/, "")
  if (text === "") throw new CommandFailure("standard input is empty; there is nothing to ask")
  return text
}
