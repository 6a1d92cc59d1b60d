/** Where the runtime is that is meant: a socket of this machine, or a URL. From flags, environment and defaults, in that order. Touches no file. */
import { type Paths, resolvePaths } from "./Paths.ts"

export interface Remote {
  /** Where its WebSocket is opened: `ws:` or `wss:`, the path included. */
  readonly url: string
  readonly token: string | undefined
}

export type Target =
  | ({ readonly _tag: "Socket" } & Paths)
  | ({ readonly _tag: "Remote" } & Remote)
  /** What was given as a URL is none. */
  | { readonly _tag: "Malformed"; readonly detail: string }

const webSocketPath = "/v1/ws"
const schemes: Readonly<Record<string, string>> = { "http:": "ws:", "https:": "wss:", "ws:": "ws:", "wss:": "wss:" }

/** The URL of a runtime as people write it, `http://127.0.0.1:8420`, as that of its WebSocket; a path before it is kept. */
export const remoteOf = (given: string, token: string | undefined): Target => {
  const url = URL.parse(given)
  const scheme = schemes[url?.protocol ?? ""]
  const wanted = "must be a URL as http://127.0.0.1:8420 or https://creche.example"
  if (url === null || scheme === undefined) return { _tag: "Malformed", detail: wanted }
  if (url.username !== "" || url.password !== "")
    return { _tag: "Malformed", detail: "must hold no user name or password: the token is given apart" }
  if (url.search !== "" || url.hash !== "") return { _tag: "Malformed", detail: `${wanted}, without ? and #` }
  const path = url.pathname.replace(/\/+$/, "")
  const whole = path.endsWith(webSocketPath) ? path : `${path}${webSocketPath}`
  return { _tag: "Remote", url: `${scheme}//${url.host}${whole}`, token }
}

export interface TargetFlags {
  readonly data: string | undefined
  readonly socket: string | undefined
  readonly url: string | undefined
  readonly token: string | undefined
}

/** An empty variable counts as none. */
const given = (value: string | undefined) => (value === "" ? undefined : value)

export const resolveTarget = (
  flags: TargetFlags,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): Target => {
  const isLocal = given(flags.socket) !== undefined || given(flags.data) !== undefined
  const url = given(flags.url) ?? (isLocal ? undefined : given(env["CRECHE_URL"]))
  if (url === undefined) return { _tag: "Socket", ...resolvePaths(flags, env, cwd) }
  return remoteOf(url, given(flags.token) ?? given(env["CRECHE_TOKEN"]))
}
