/**
 * What `stop`, `restart`, `suspend`, `resume` and `rm` share: one request for each named session, all at once;
 * every one is told of; the first failure decides the exit code, the others are done nevertheless.
 */
import type { Client } from "../client/index.ts"
import type { Call } from "./Commands.ts"
import { withRuntime } from "./Connection.ts"
import { report } from "./Failure.ts"
import type { ExitCode, Io } from "./Io.ts"

export const eachSession = async <A>(
  call: Call,
  names: ReadonlyArray<string>,
  io: Io,
  request: (client: Client, session: string) => Promise<A>,
  say: (answer: A, session: string) => string,
): Promise<ExitCode> =>
  withRuntime(call, io, async (client) => {
    const settled = await Promise.allSettled(names.map((name) => request(client, name)))
    let code: ExitCode = 0
    for (const [at, outcome] of settled.entries()) {
      if (outcome.status === "fulfilled") {
        const text = call.shared.json ? JSON.stringify(outcome.value) : say(outcome.value, names[at]!)
        await io.stdout(`${text}\n`)
        continue
      }
      const failed = report(outcome.reason, call, io)
      if (code === 0) code = failed
    }
    return code
  })
