/**
 * One client over one pair of byte streams: decoder in, outbox out, a dispatcher between. Holds back reading
 * while the peer does not read, carries on when it closes its half, and gives up what waits when it is gone.
 * It neither accepts connections nor decides when the runtime ends. Made by `UnixSocket` and `Stdio`.
 */
import type * as Context from "effect/Context"
import type { Readable, Writable } from "node:stream"
import { Dispatcher, type Methods, type Peer } from "./Dispatcher.ts"
import * as JsonRpc from "./JsonRpc.ts"
import { defaultLimitBytes, MessageDecoder } from "./MessageDecoder.ts"
import { Outbox } from "./Outbox.ts"

export interface ConnectionOptions {
  readonly readable: Readable
  readonly writable: Writable
  readonly methods: Methods
  readonly services: Context.Context<never>
  /** The longest message, in bytes; default 16 MiB. */
  readonly maxMessageBytes?: number
  /** Requests under way at once; default 1000. One more is LimitReached. */
  readonly maxPending?: number
  /** Called once: the peer sends no more, and nothing that it sent is left unread. */
  readonly onEnd?: () => void
}

export class Connection {
  readonly #options: ConnectionOptions
  readonly #outbox: Outbox
  readonly #dispatcher: Dispatcher
  readonly #subscriptions = new Map<string, () => void>()
  #phase: "open" | "ended" | "gone" = "open"
  #onGone: Array<() => void> = []

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { readable, writable } = options
    const maxMessageBytes = options.maxMessageBytes ?? defaultLimitBytes
    const decoder = new MessageDecoder(
      {
        onMessage: (text) => this.#dispatcher.receive(text),
        onTooLarge: () => this.#dispatcher.refuse(JsonRpc.messageTooLarge(maxMessageBytes)),
        onMalformed: (detail) => this.#dispatcher.refuse(JsonRpc.unreadable(detail)),
      },
      maxMessageBytes,
    )
    this.#outbox = new Outbox({
      writable,
      framing: () => decoder.framing,
      onBlocked: (blocked) => void (blocked ? readable.pause() : readable.resume()),
    })
    const peer: Peer = {
      notify: (event) => this.#outbox.send(JsonRpc.notification("session/event", event)),
      room: this.#outbox.room,
      subscriptions: this.#subscriptions,
    }
    this.#dispatcher = new Dispatcher({
      methods: options.methods,
      services: options.services,
      peer,
      send: (message) => this.#outbox.send(message),
      ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
    })
    readable.on("data", (chunk: Buffer) => decoder.push(chunk))
    readable.on("end", () => {
      if (this.#phase !== "open") return
      decoder.end()
      this.#phase = "ended"
      options.onEnd?.()
    })
    const gone = () => this.#gone()
    readable.on("error", gone)
    if ((writable as unknown) !== readable) writable.on("error", gone)
    writable.on("close", gone)
  }

  /** Nothing is owed to the peer, and nothing will come for it by itself. */
  get isIdle(): boolean {
    return this.#dispatcher.pending === 0 && this.#subscriptions.size === 0
  }

  /** Calls back once no request is pending. */
  whenIdle(then: () => void): void {
    this.#dispatcher.whenIdle(then)
  }

  /** Calls back once the peer is gone, or `close` is done. */
  whenGone(then: () => void): void {
    if (this.#phase === "gone") then()
    else this.#onGone.push(then)
  }

  /** Calls back once every request so far is answered and written out, or after `withinMs`, whichever is first. */
  settle(withinMs: number, then: () => void): void {
    let settled = false
    const once = () => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      then()
    }
    const timer = setTimeout(once, withinMs)
    this.#dispatcher.whenIdle(() => this.#outbox.whenEmpty(once))
  }

  /** Reads no more, ends the subscriptions, waits up to `withinMs` for the answers that are due, and closes. */
  close(withinMs: number): void {
    if (this.#phase === "gone") return
    this.#options.readable.pause()
    this.#endSubscriptions()
    this.settle(withinMs, () => {
      if (this.#phase === "gone") return
      const cut = setTimeout(() => this.#gone(), 100)
      this.#options.writable.end(() => {
        clearTimeout(cut)
        this.#gone()
      })
    })
  }

  #endSubscriptions(): void {
    for (const end of this.#subscriptions.values()) end()
  }

  #gone(): void {
    if (this.#phase === "gone") return
    this.#phase = "gone"
    this.#outbox.close()
    this.#endSubscriptions()
    this.#dispatcher.abandon()
    this.#options.readable.destroy()
    this.#options.writable.destroy()
    for (const then of this.#onGone) then()
  }
}
