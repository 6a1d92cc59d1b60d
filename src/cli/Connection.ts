/**
 * The way of a client command to the runtime: says how to get one where none answers, and
 * closes the connection whatever happens. Loads no effect.
 */
import { connectTo } from "../client/Connect.ts"
import { type Client, CrecheError } from "../client/index.ts"
import { resolvePaths } from "../client/Paths.ts"
import type { Call } from "./Commands.ts"
import { CommandFailure } from "./Failure.ts"
import type { Io } from "./Io.ts"

/** What is to be done where no runtime answers. */
export const explain = (error: unknown, socket: string): unknown => {
  if (error instanceof CrecheError && error.tag === "OtherRuntime")
    return new CommandFailure(`${error.message} with --socket`, error.data)
  if (!(error instanceof CrecheError) || error.tag !== "NoRuntime") return error
  const { errno } = error.data
  const message =
    errno === "ENOENT" || errno === "ECONNREFUSED" || errno === "ENOTDIR"
      ? `no runtime is listening on ${socket}; start one with \`creche serve\``
      : `${error.message}; name another socket with --socket`
  return new CommandFailure(message, { tag: "NoRuntime", socket, errno })
}

export const withRuntime = async <A>(call: Call, io: Io, use: (client: Client) => Promise<A>): Promise<A> => {
  const paths = resolvePaths(call.shared, io.env, io.cwd)
  let client: Client
  try {
    client = await connectTo(paths)
  } catch (error) {
    throw explain(error, paths.socket)
  }
  try {
    return await use(client)
  } finally {
    await client.close()
  }
}
