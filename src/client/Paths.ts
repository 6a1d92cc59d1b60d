/** Where the data directory and the socket are, from flags, environment and defaults, in that order. Touches no file. */
import { homedir } from "node:os"
import { isAbsolute, join, resolve } from "node:path"

export interface Paths {
  readonly dataDirectory: string
  readonly socket: string
  /** The caller named the data directory but not the socket: what answers there may be another's runtime. */
  readonly socketIsShared: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/** An empty variable counts as none; a relative one in XDG's is to be ignored by its specification. */
const absolute = (value: string | undefined) => (value !== undefined && isAbsolute(value) ? value : undefined)
const given = (value: string | undefined) => (value === "" ? undefined : value)

export const defaultDataDirectory = (env: Environment): string =>
  join(absolute(env["XDG_STATE_HOME"]) ?? join(given(env["HOME"]) ?? homedir(), ".local", "state"), "creche")

export const resolvePaths = (
  flags: { readonly data: string | undefined; readonly socket: string | undefined },
  env: Environment,
  cwd: string,
): Paths => {
  const data = given(flags.data) ?? given(env["CRECHE_DATA"])
  const dataDirectory = data === undefined ? defaultDataDirectory(env) : resolve(cwd, data)
  const socket = given(flags.socket) ?? given(env["CRECHE_SOCKET"])
  if (socket !== undefined) return { dataDirectory, socket: resolve(cwd, socket), socketIsShared: false }
  const runtimeDirectory = absolute(env["XDG_RUNTIME_DIR"])
  return runtimeDirectory === undefined
    ? { dataDirectory, socket: join(dataDirectory, "creche.sock"), socketIsShared: false }
    : { dataDirectory, socket: join(runtimeDirectory, "creche.sock"), socketIsShared: data !== undefined }
}
