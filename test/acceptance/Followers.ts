/**
 * Subscribers to one session by hand, one a connection, over each transport that has subscriptions: they count what comes and
 * keep nothing of it, can stop reading, and can be cut off without a word. They share no code with `creche/client`.
 */
import * as net from "node:net"
import { WebSocket } from "@effect/platform-node-shared/NodeWS"

export const followings = ["events", "WebSocket", "unix socket"] as const
export type Following = (typeof followings)[number]

export interface Where {
  /** `http://127.0.0.1:PORT`, asking for no token. */
  readonly url: string
  readonly socket: string
}

export interface FollowerOptions {
  readonly session: string
  /** The last `seq` that was seen: what comes begins after it. */
  readonly after: number
  /** Each entry that came, by its `seq`. */
  readonly onEntry: (seq: number) => void
}

export interface Follower {
  readonly pause: () => void
  readonly resume: () => void
  /** Resolves once the connection is gone. */
  readonly cut: () => Promise<void>
  /** Whoever ended it. */
  readonly gone: Promise<void>
}

/** Hands on each whole line that holds an entry: `"seq":N` stands once in each. */
const seqsIn = (onEntry: (seq: number) => void) => {
  let rest = ""
  return (chunk: string): void => {
    const lines = (rest + chunk).split("\n")
    rest = lines.pop()!
    for (const line of lines) {
      const seq =
        /"entry":\{"session":"[^"]*","seq":(\d+)/.exec(line) ?? /^data: \{"session":"[^"]*","seq":(\d+)/.exec(line)
      if (seq !== null) onEntry(Number(seq[1]))
    }
  }
}

const overSocket = (socket: net.Socket, hello: string, onEntry: (seq: number) => void): Follower => {
  socket.setEncoding("utf8")
  socket.on("data", seqsIn(onEntry))
  socket.on("error", () => {})
  socket.write(hello)
  const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()))
  return {
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    cut: () => {
      socket.destroy()
      return gone
    },
    gone,
  }
}

const subscribe = (session: string, after: number): string =>
  JSON.stringify({ jsonrpc: "2.0", id: 1, method: "session/subscribe", params: { session, after } })

const opened = (socket: net.Socket): Promise<net.Socket> =>
  new Promise((resolve, reject) => socket.once("connect", () => resolve(socket)).once("error", reject))

/** Rejects where nobody answers. Comes back by `Last-Event-ID` over events, by `after` otherwise. */
export const follow = async (how: Following, where: Where, options: FollowerOptions): Promise<Follower> => {
  const { session, after, onEntry } = options
  switch (how) {
    case "unix socket":
      return overSocket(await opened(net.connect(where.socket)), `${subscribe(session, after)}\n`, onEntry)
    case "events": {
      const { hostname, port } = new URL(where.url)
      const from = after === 0 ? ["?after=0", ""] : ["", `Last-Event-ID: ${after}\r\n`]
      const request = `GET /v1/sessions/${session}/events${from[0]} HTTP/1.1\r\nHost: localhost\r\n${from[1]}\r\n`
      return overSocket(await opened(net.connect(Number(port), hostname)), request, onEntry)
    }
    case "WebSocket": {
      const socket = new WebSocket(`${where.url.replace("http", "ws")}/v1/ws`, { perMessageDeflate: false })
      await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject))
      const take = seqsIn(onEntry)
      socket.on("message", (data: Buffer) => take(`${data.toString()}\n`))
      socket.on("error", () => {})
      socket.send(subscribe(session, after))
      const gone = new Promise<void>((resolve) => socket.once("close", () => resolve()))
      return {
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        cut: () => {
          socket.terminate()
          return gone
        },
        gone,
      }
    }
  }
}
