/** Where HTTP is served: `HOST:PORT` as it is written, and whether only this machine can reach it. Pure. */
import { isIPv4, isIPv6 } from "node:net"

export interface HttpAddress {
  /** A name or an address; a v6 one without its brackets. */
  readonly host: string
  /** 0: one that is free. */
  readonly port: number
}

/** A unix socket's file. */
export interface HttpSocket {
  readonly path: string
}

/** Undefined where it is no such text. */
export const parseAddress = (text: string): HttpAddress | undefined => {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) return undefined
  const v6 = match[1]
  if (v6 !== undefined && !isIPv6(v6)) return undefined
  return { host: v6 ?? match[2]!.toLowerCase(), port }
}

/** Names but `localhost` may lead anywhere, so they do not count as this machine. */
export const isLoopback = ({ host }: HttpAddress): boolean =>
  host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."))

/** As clients and people are told of it; of a socket `unix:PATH`. */
export const urlOf = (address: HttpAddress | HttpSocket): string =>
  "path" in address ? `unix:${address.path}` : tcpUrl(address)

const tcpUrl = ({ host, port }: HttpAddress): string => `http://${host.includes(":") ? `[${host}]` : host}:${port}`
