/**
 * The way of a client command to the runtime: says how to get one where none answers, and
 * closes the connection whatever happens. Loads no effect.
 */
import { connectTo } from "../client/Connect.ts"
import { type Client, CrecheError } from "../client/index.ts"
import { resolveTarget, type Target } from "../client/Target.ts"
import type { Call } from "./Commands.ts"
import { CommandFailure, wrongUsage } from "./Failure.ts"
import type { Io } from "./Io.ts"

/** What is to be done where no runtime answers. */
export const explain = (error: unknown, target: Target): unknown => {
  if (!(error instanceof CrecheError)) return error
  const { tag, message, data } = error
  if (tag === "OtherRuntime") return new CommandFailure(`${message} with --socket`, data)
  if (target._tag === "Remote") {
    if (tag === "NoRuntime") return new CommandFailure(message, data)
    return tag === "Unauthorized" && target.token === undefined
      ? new CommandFailure(`${message}; set CRECHE_TOKEN`, data)
      : error
  }
  if (tag !== "NoRuntime" || target._tag !== "Socket") return error
  const { socket } = target
  const { errno } = data
  const words =
    errno === "ENOENT" || errno === "ECONNREFUSED" || errno === "ENOTDIR"
      ? `no runtime is listening on ${socket}; start one with \`creche serve\``
      : `${message}; name another socket with --socket`
  return new CommandFailure(words, { tag: "NoRuntime", socket, errno })
}

/** The runtime that a command means. */
export const targetOf = ({ shared }: Pick<Call, "shared">, io: Pick<Io, "env" | "cwd">): Target => {
  if (shared.url !== undefined && (shared.socket !== undefined || shared.data !== undefined))
    throw wrongUsage("--url goes without --socket and --data")
  if (shared.token !== undefined && shared.url === undefined && (io.env["CRECHE_URL"] ?? "") === "")
    throw wrongUsage("--token goes with --url")
  const target = resolveTarget(shared, io.env, io.cwd)
  if (target._tag !== "Malformed") return target
  throw wrongUsage(`${shared.url === undefined ? "CRECHE_URL" : "--url"} ${target.detail}`)
}

export const withRuntime = async <A>(call: Call, io: Io, use: (client: Client) => Promise<A>): Promise<A> => {
  const target = targetOf(call, io)
  let client: Client
  try {
    client = await connectTo(target)
  } catch (error) {
    throw explain(error, target)
  }
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}
