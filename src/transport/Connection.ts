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
  /** Called once: the peer sends no more. */
  readonly onEnd?: () => void
}

const maxHeldBytes = 65_536

export class Connection {
  readonly #options: ConnectionOptions
  readonly #outbox: Outbox
  readonly #decoder: MessageDecoder
  readonly #dispatcher: Dispatcher
  readonly #subscriptions = new Map<string, () => void>()
  #phase: "open" | "ended" | "closing" | "gone" = "open"
  #onGone: Array<() => void> = []
  /** What came while the peer did not read: decoded once it reads again. */
  #held: Array<Buffer> = []
  #heldBytes = 0
  #blocked = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    const { readable, writable } = options
    const maxMessageBytes = options.maxMessageBytes ?? defaultLimitBytes
    const decoder = (this.#decoder = new MessageDecoder(
      {
        onMessage: (text) => this.#dispatcher.receive(text),
        onTooLarge: () => this.#dispatcher.refuse(JsonRpc.messageTooLarge(maxMessageBytes)),
        onMalformed: (detail) => this.#dispatcher.refuse(JsonRpc.unreadable(detail)),
      },
      maxMessageBytes,
    ))
    this.#outbox = new Outbox({
      writable,
      framing: () => decoder.framing,
      onBlocked: (blocked) => this.#onBlocked(blocked),
    })
    const peer: Peer = {
      notify: (event) => this.#outbox.send(JsonRpc.notification("session/event", event)),
      room: this.#outbox.room,
      written: () => this.#outbox.written,
      subscriptions: this.#subscriptions,
    }
    this.#dispatcher = new Dispatcher({
      methods: options.methods,
      services: options.services,
      peer,
      send: (message) => this.#outbox.send(message),
      ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
    })
    readable.on("data", (chunk: Buffer) => this.#onData(chunk))
    const gone = () => this.#gone()
    readable.on("end", () => this.#onEnd())
    readable.on("error", gone)
    writable.on("close", gone)
    if ((writable as unknown) !== readable) {
      readable.on("close", () => this.#onEnd())
      writable.on("error", gone)
    }
  }

  /** Nothing is owed to the peer, and nothing will come for it by itself. */
  get isIdle(): boolean {
    return this.#held.length === 0 && this.#dispatcher.pending === 0 && this.#subscriptions.size === 0
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
    const look = (): void =>
      this.#dispatcher.whenIdle(() =>
        this.#outbox.whenEmpty(() => {
          if (settled || this.#held.length === 0) once()
          else setImmediate(look)
        }),
      )
    look()
  }

  /** Reads no more, ends the subscriptions, waits up to `withinMs` for the answers that are due, and closes. */
  close(withinMs: number): void {
    if (this.#phase === "closing" || this.#phase === "gone") return
    this.#phase = "closing"
    this.#options.readable.pause()
    this.#held = []
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

  #onData(chunk: Buffer): void {
    if (this.#phase !== "open") return
    if (!this.#blocked) return this.#decoder.push(chunk)
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    // Not at once, or the end of the input behind it would go unnoticed.
    if (this.#heldBytes >= maxHeldBytes) this.#options.readable.pause()
  }

  #onEnd(): void {
    if (this.#phase !== "open") return
    this.#phase = "ended"
    if (this.#held.length === 0) this.#decoder.end()
    this.#options.onEnd?.()
  }

  #onBlocked(blocked: boolean): void {
    this.#blocked = blocked
    if (blocked) return
    while (this.#held.length > 0 && !this.#blocked) {
      const chunk = this.#held.shift() as Buffer
      this.#heldBytes -= chunk.length
      this.#decoder.push(chunk)
    }
    if (this.#held.length > 0) return
    if (this.#phase === "ended") this.#decoder.end()
    else if (this.#phase === "open") this.#options.readable.resume()
  }

  #endSubscriptions(): void {
    for (const end of this.#subscriptions.values()) end()
  }

  #gone(): void {
    if (this.#phase === "gone") return
    this.#phase = "gone"
    this.#held = []
    this.#outbox.close()
    this.#endSubscriptions()
    this.#dispatcher.abandon()
    this.#options.readable.destroy()
    this.#options.writable.destroy()
    for (const then of this.#onGone) then()
  }
}
