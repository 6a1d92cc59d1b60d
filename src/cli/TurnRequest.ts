/** The params of `session/ask` and `session/tell` from their command lines. */
import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import { fileResource } from "../domain/FileResource.ts"
import { CommandFailure, wrongUsage } from "./Failure.ts"
import type { Invocation } from "./Commands.ts"
import type { Io } from "./Io.ts"

export const turnRequest = async (call: Invocation<"ask"> | Invocation<"tell">, io: Io) => {
  const { prompt, session } = call.args
  const { file: files, key, "timeout-ms": timeoutMs } = call.flags
  if (timeoutMs === 0) throw wrongUsage("--timeout-ms wants at least 1")
  return {
    session,
    prompt: prompt.length === 1 && prompt[0] === "-" ? await fromStdin(io) : prompt.join(" "),
    ...(files.length === 0 ? {} : { attachments: await Promise.all(files.map((file) => attachment(file, io))) }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(key === undefined ? {} : { idempotencyKey: key }),
  }
}

/** Read here: what the caller may read need not be the runtime's to read. */
const attachment = async (file: string, io: Io) => {
  try {
    return fileResource(file, await readFile(resolve(io.cwd, file)))
  } catch (error) {
    throw new CommandFailure(`--file ${file}: ${(error as Error).message}`, { tag: "FileUnreadable", file })
  }
}

/** Without the one newline that ends it, as the shell's `$(…)` does. */
const fromStdin = async (io: Io): Promise<string> => {
  const text = (await io.stdin()).replace(/\r?\n$/, "")
  if (text === "") throw new CommandFailure("standard input is empty; there is nothing to ask")
  return text
}
