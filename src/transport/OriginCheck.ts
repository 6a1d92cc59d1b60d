/**
 * Whether a request may come from where it says: a page of another origin may not use a browser against the runtime, nor
 * may a name that was bound to this address after the page was loaded (DNS rebinding). Pure; knows no tokens.
 */
import type { IncomingHttpHeaders } from "node:http"
import { isIP } from "node:net"

export type OriginVerdict =
  | { readonly _tag: "Allowed" }
  | { readonly _tag: "Refused"; readonly header: "Host" | "Origin" | "Sec-Fetch-Site"; readonly detail: string }

const allowed: OriginVerdict = { _tag: "Allowed" }

interface Authority {
  readonly name: string
  readonly port: string
}

/** `name`, `name:port`, `[v6]:port`. */
const authorityOf = (text: string): Authority | undefined => {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text)
  return match === null ? undefined : { name: match[1]!.toLowerCase().replace(/\.$/, ""), port: match[2] ?? "" }
}

/**
 * An address needs no name server, so no rebinding reaches it; `localhost` is resolved on the machine itself. Any other
 * name has to be one of `names` (lower case), under which the runtime is served.
 */
const isServed = ({ name }: Authority, names: ReadonlySet<string>): boolean =>
  name === "localhost" || isIP(name.replace(/^\[|\]$/g, "")) !== 0 || names.has(name)

/** `hosts`: how many Host headers came; node hands on only the first. */
export const checkOrigin = (
  headers: IncomingHttpHeaders,
  names: ReadonlySet<string>,
  hosts: number = headers.host === undefined ? 0 : 1,
): OriginVerdict => {
  const host = hosts === 1 ? authorityOf(headers.host ?? "") : undefined
  if (host === undefined) return refused("Host", "exactly one well-formed Host header is required")
  if (!isServed(host, names)) return refused("Host", "the runtime is not served under this name")
  const { origin } = headers
  if (origin !== undefined && !isSame(origin, host)) return refused("Origin", "pages of other origins are not served")
  const site = headers["sec-fetch-site"]
  if (site !== undefined && site !== "same-origin" && site !== "none") {
    return refused("Sec-Fetch-Site", "pages of other sites are not served")
  }
  return allowed
}

const refused = (header: "Host" | "Origin" | "Sec-Fetch-Site", detail: string): OriginVerdict => ({
  _tag: "Refused",
  header,
  detail,
})

const isSame = (origin: string, host: Authority): boolean => {
  const match = /^(https?):\/\/(.+)$/.exec(origin)
  const of = authorityOf(match?.[2] ?? "")
  if (match === null || of === undefined) return false
  const usual = match[1] === "http" ? "80" : "443"
  return of.name === host.name && (of.port || usual) === (host.port || usual)
}
