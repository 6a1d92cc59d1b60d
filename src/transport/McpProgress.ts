/**
 * Progress notifications of one request: what its turn does meanwhile, in few and short messages. Text that comes faster than it
 * can be told is joined; when the client does not read, the newest is kept. Made by `McpSession` for a request with a progress token.
 */
import * as JsonRpc from "./JsonRpc.ts"
import type { WireEntry } from "./Wire.ts"

export type ProgressToken = string | number

/** The way out for the messages that belong to one request, or to a client as a whole. */
export interface McpChannel {
  readonly send: (message: JsonRpc.Outgoing) => void
  /** Resolves once what was sent is on its way, or the client is gone. */
  readonly room: () => Promise<void>
}

const intervalMs = 50
/** Clients give a request up that is silent for long; many wait a minute. */
const heartbeatMs = 10_000
const messageChars = 2000

/** What an entry says to somebody who waits; undefined: nothing. Deltas are told as the text they are. */
const wordsOf = (entry: WireEntry): string | undefined => {
  switch (entry.type) {
    case "turn/queued":
      return "the turn is accepted"
    case "turn/started":
      return entry.attempt === 1 ? "the turn runs" : `the turn runs again, attempt ${entry.attempt}`
    case "turn/tool":
      return `tool ${entry.name}: ${entry.status}`
    case "turn/stalled":
      return `no output for ${entry.silentMs} ms`
    case "permission/requested":
      return `asks for leave: ${entry.tool} (request ${entry.request}); permission_answer answers it`
    case "permission/resolved":
      return `the request ${entry.request} was answered: ${entry.outcome}`
    case "process/exited":
      return "its process ended"
    case "restart/scheduled":
      return `starts again in ${Math.round(entry.delayMs)} ms`
    default:
      return undefined
  }
}

export class McpProgress {
  readonly #token: ProgressToken
  readonly #channel: McpChannel
  readonly #heartbeat: NodeJS.Timeout
  readonly #began = Date.now()
  #count = 0
  /** Deltas that were not told yet. */
  #text = ""
  #timer: NodeJS.Timeout | undefined
  #waitsForRoom = false
  #closed = false

  constructor(token: ProgressToken, channel: McpChannel) {
    this.#token = token
    this.#channel = channel
    this.#heartbeat = setInterval(() => {
      this.#count++
      if (!this.#waitsForRoom) this.#say(`still waiting, ${Math.round((Date.now() - this.#began) / 1000)} s`)
    }, heartbeatMs)
    this.#heartbeat.unref()
  }

  /** An entry of the turn. The promise, where there is one, is kept when the client has room for more. */
  entry(entry: WireEntry): Promise<void> | undefined {
    if (this.#closed) return undefined
    this.#count++
    if (entry.type === "turn/delta") {
      this.#text = (this.#text + entry.text).slice(-messageChars)
      if (this.#timer === undefined) {
        this.#timer = setTimeout(() => {
          this.#timer = undefined
          if (!this.#waitsForRoom) this.#flush()
        }, intervalMs)
      }
      return undefined
    }
    const words = wordsOf(entry)
    if (words === undefined) return undefined
    this.#flush()
    this.#say(words)
    return this.#room()
  }

  /** Tells what is left; nothing comes after it. */
  close(): void {
    if (this.#closed) return
    this.#flush()
    this.#closed = true
    clearTimeout(this.#timer)
    clearInterval(this.#heartbeat)
  }

  /** The request was cancelled: nothing is told any more. */
  abandon(): void {
    this.#text = ""
    this.close()
  }

  #flush(): void {
    if (this.#text === "") return
    const text = this.#text
    this.#text = ""
    this.#say(text)
    void this.#room()
  }

  #say(message: string): void {
    if (this.#closed) return
    const params = { progressToken: this.#token, progress: ++this.#count, message: message.slice(0, messageChars) }
    this.#channel.send(JsonRpc.notification("notifications/progress", params))
  }

  async #room(): Promise<void> {
    this.#waitsForRoom = true
    await this.#channel.room()
    this.#waitsForRoom = false
  }
}
