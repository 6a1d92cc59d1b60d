/**
 * The JSON-RPC of the socket over a WebSocket, one message a frame: a pair of streams for `Connection`, which does the rest.
 * A peer may say who it is in its upgrade or, once, by `initialize {token}`; until then it may call nothing else.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { WebSocket as Socket } from "@effect/platform-node-shared/NodeWS"
import { type Duplex, Readable, Writable } from "node:stream"
import { Forbidden, InvalidParams, Unauthorized } from "../domain/Errors.ts"
import { Connection } from "./Connection.ts"
import type { Method, Methods } from "./Dispatcher.ts"
import type { Access, Caller } from "./HttpAccess.ts"

export interface WebSocketOptions {
  readonly socket: Socket
  /** What the frames come from. */
  readonly raw: Duplex
  readonly access: Access
  /** Undefined: it has not said yet. */
  readonly caller: Caller | undefined
  readonly from: string
  readonly services: Context.Context<never>
  readonly maxMessageBytes: number
  readonly maxPending?: number
  /** How long it may take to say who it is; default 10 s. */
  readonly introduceMs?: number
}

const newline = 10
const goingAway = 1001
const policyViolation = 1008
const mostGuesses = 3
const outboxBytes = 65_536
const introductionBytes = 65_536

/** As `MessageDecoder` reads it: one line. Only blanks between the parts of a JSON value are newlines. */
const asLine = (frame: Buffer): Buffer => {
  const line = Buffer.allocUnsafe(frame.length + 1)
  frame.copy(line)
  for (let at = frame.indexOf(newline); at >= 0; at = frame.indexOf(newline, at + 1)) line[at] = 32
  line[frame.length] = newline
  // Headers have no place in a frame, and no JSON begins so.
  return /^\s*c/i.test(frame.toString("latin1", 0, 64)) ? Buffer.from("x\n") : line
}

class CallerMethods extends Map<string, Method> implements Methods {
  readonly #options: WebSocketOptions
  readonly #reject: () => void
  readonly #onIntroduced: () => void
  #caller: Caller | undefined
  #guesses = 0

  constructor(options: WebSocketOptions, reject: () => void, onIntroduced: () => void) {
    super()
    this.#options = options
    this.#reject = reject
    this.#onIntroduced = onIntroduced
    this.#caller = options.caller
  }

  get caller(): Caller | undefined {
    return this.#caller
  }

  override get(name: string): Method | undefined {
    // `$/cancelRequest` is the dispatcher's own.
    if (name.startsWith("$/")) return undefined
    if (name === "initialize") return this.#initialize
    const caller = this.#caller
    if (caller === undefined) {
      return denied(new Unauthorized({ detail: "say first who you are: initialize {token}" }))
    }
    this.#options.access.look()
    if (!caller.isCurrent()) {
      this.#reject()
      return denied(new Unauthorized({ detail: "the token is not valid any more" }))
    }
    const limit = caller.charge()
    return limit === undefined ? caller.methods.get(name) : denied(limit)
  }

  readonly #initialize: Method = {
    waits: false,
    decode: (given) => this.#options.access.initialize.decode(given),
    run: (params: { readonly token?: string }, call) => {
      const { access, from } = this.#options
      if (this.#caller === undefined || params.token !== undefined) {
        const caller = access.authenticate(params.token === undefined ? undefined : `Bearer ${params.token}`, from)
        if (caller instanceof Unauthorized) {
          if (++this.#guesses >= mostGuesses) this.#reject()
          return caller
        }
        if (this.#caller !== undefined && this.#caller.id !== caller.id) {
          return new Forbidden({ detail: "this connection has another token already" })
        }
        this.#caller = caller
        this.#onIntroduced()
      }
      const limit = this.#caller.charge()
      return limit ?? access.initialize.run(params, call)
    },
  }
}

const denied = (error: Exclude<ReturnType<Caller["charge"]>, undefined> | Unauthorized): Method => ({
  waits: false,
  decode: (given) => (Array.isArray(given) ? new InvalidParams({ issues: [{ path: "", message: "by name" }] }) : given),
  run: () => Effect.fail(error),
})

export class WebSocketConnection {
  readonly #socket: Socket
  readonly #methods: CallerMethods
  readonly #connection: Connection
  readonly #introduced: NodeJS.Timeout | undefined
  #isAlive = true
  #reason: { readonly code: number; readonly text: string } = { code: 1000, text: "" }
  /** Epoch milliseconds: when the peer last said something, or took what was there for it. */
  #heardAt = Date.now()

  constructor(options: WebSocketOptions) {
    const { socket } = options
    this.#socket = socket
    this.#methods = new CallerMethods(
      options,
      () => this.close(policyViolation, "unauthorized", 1000),
      () => options.raw.off("data", watch),
    )
    // Whom nobody knows is not given room for a whole message.
    let early = 0
    const watch = (chunk: Buffer) => {
      early += chunk.length
      if (early > introductionBytes) socket.terminate()
    }
    if (options.caller === undefined) options.raw.on("data", watch)
    const readable = new Readable({
      read: () => {
        if (socket.isPaused) socket.resume()
      },
    })
    const writable = new Writable({
      decodeStrings: false,
      highWaterMark: outboxBytes,
      write: (text: string, _encoding, then) => {
        const messages = text.split("\n")
        // Behind the last newline there is nothing.
        const last = messages.length - 2
        const taken = (error?: Error | null) => {
          this.#heard()
          then(error ?? null)
        }
        for (let at = 0; at <= last; at++) socket.send(messages[at]!, at === last ? taken : undefined)
      },
      final: (then) => {
        socket.once("close", () => then())
        socket.close(this.#reason.code, this.#reason.text)
      },
      destroy: (_error, then) => {
        socket.terminate()
        then(null)
      },
    })
    socket.on("message", (data: Buffer) => {
      this.#heard()
      if (!readable.push(asLine(data))) socket.pause()
    })
    socket.on("pong", () => this.#heard())
    // What the peer may not send (too long, not UTF-8) closes the socket with the reason; `close` follows.
    socket.on("error", () => {})
    socket.on("close", () => {
      readable.push(null)
      writable.destroy()
    })
    this.#connection = new Connection({
      readable,
      writable,
      methods: this.#methods,
      services: options.services,
      maxMessageBytes: options.maxMessageBytes,
      ...(options.maxPending === undefined ? {} : { maxPending: options.maxPending }),
    })
    if (options.caller !== undefined) return
    this.#introduced = setTimeout(() => {
      if (this.#methods.caller === undefined) this.close(policyViolation, "unauthorized", 0)
    }, options.introduceMs ?? 10_000)
    this.whenGone(() => clearTimeout(this.#introduced))
  }

  whenGone(then: () => void): void {
    this.#connection.whenGone(then)
  }

  /** Lets the answers that are due go out, for at most `withinMs`. */
  close(code: number, reason: string, withinMs: number): void {
    this.#reason = { code, text: reason }
    this.#connection.close(withinMs)
  }

  drain(withinMs: number): void {
    this.close(goingAway, "draining", withinMs)
  }

  /** Looks after the peer: pings it, ends one whose token counts no more, one that is dead, and one that takes nothing. */
  tick(now: number, heartbeatMs: number, stalledMs: number): void {
    if (this.#methods.caller?.isCurrent() === false) return this.close(policyViolation, "unauthorized", 0)
    const silent = now - this.#heardAt
    if (silent >= stalledMs && !this.#isAlive) return this.#socket.terminate()
    // One ping is enough: behind what the peer does not read, more would only pile up.
    if (silent < heartbeatMs || !this.#isAlive) return
    this.#isAlive = false
    this.#socket.ping()
  }

  #heard(): void {
    this.#isAlive = true
    this.#heardAt = Date.now()
  }
}
