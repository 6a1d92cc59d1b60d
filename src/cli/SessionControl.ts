/**
 * What `stop`, `restart`, `suspend`, `resume` and `rm` share: one request for each named session, all at once;
 * every one is told of; the first failure decides the exit code, the others are done nevertheless.
 */
import type { Client } from "../client/index.ts"
import type { WireSession } from "../transport/Wire.ts"
import type { Call } from "./Commands.ts"
import { withRuntime } from "./Connection.ts"
import { report } from "./Failure.ts"
import type { ExitCode, Io } from "./Io.ts"

/** Of a session that was to end: how it stands, and which processes of it could not be killed. */
export const ended = ({ name, status, survivors }: WireSession): string =>
  `${name} is ${status}${survivors.length === 0 ? "" : `; could not be killed: ${survivors.join(", ")}`}`

/** Whether nothing is left of it. */
export const isGone = ({ survivors }: WireSession): boolean => survivors.length === 0

export const eachSession = async <A>(
  call: Call,
  names: ReadonlyArray<string>,
  io: Io,
  request: (client: Client, session: string) => Promise<A>,
  say: (answer: A, session: string) => string,
  wentWell: (answer: A) => boolean = () => true,
): Promise<ExitCode> =>
  withRuntime(call, io, async (client) => {
    const settled = await Promise.allSettled(names.map((name) => request(client, name)))
    let code: ExitCode = 0
    for (const [at, outcome] of settled.entries()) {
      if (outcome.status === "fulfilled") {
        const text = call.shared.json ? JSON.stringify(outcome.value) : say(outcome.value, names[at]!)
        await io.stdout(`${text}\n`)
        if (code === 0 && !wentWell(outcome.value)) code = 1
        continue
      }
      const failed = report(outcome.reason, call, io)
      if (code === 0) code = failed
    }
    return code
  })
