/**
 * The way of a client command to the runtime: finds the socket, makes sure that the right runtime answers, and
 * closes the connection whatever happens. Loads no effect.
 */
import { type Client, connect, CrecheError } from "../client/index.ts"
import type { Call } from "./Commands.ts"
import { CommandFailure } from "./Failure.ts"
import type { Io } from "./Io.ts"
import { resolvePaths } from "./Paths.ts"

/** What is to be done where no runtime answers. */
const explain = (error: unknown, socket: string): unknown => {
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
    client = await connect({ socket: paths.socket })
  } catch (error) {
    throw explain(error, paths.socket)
  }
  try {
    if (paths.socketIsShared) {
      const { dataDirectory } = await client.request("runtime/info", {})
      if (dataDirectory !== paths.dataDirectory)
        throw new CommandFailure(
          `the runtime on ${paths.socket} keeps its data in ${dataDirectory}, not in ${paths.dataDirectory}; name the socket of the other one with --socket`,
          { tag: "OtherRuntime", socket: paths.socket, dataDirectory },
        )
    }
    return await use(client)
  } finally {
    await client.close()
  }
}
