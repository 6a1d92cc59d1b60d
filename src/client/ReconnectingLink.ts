/**
 * A link that outlives its connections: dials again with growing pauses while the runtime is away, repeats what is safe to
 * repeat, and lets subscriptions go on where they were. Refuses to repeat anything else: that fails with `ConnectionLost`,
 * which says whether it may have been done. Made by `connect` with `reconnect`.
 */
import { randomUUID } from "node:crypto"
import type { Method } from "../transport/Contract.ts"
import type { MissedRange, WireEntry } from "../transport/Wire.ts"
import { CrecheError } from "./CrecheError.ts"
import type { AskOptions, Link } from "./Link.ts"
import type { RequestOptions } from "./Pages.ts"
import { defaultReconnect, pauseMs, type Reconnect } from "./Reconnect.ts"
import { isRepeatable, withKey } from "./Repeatable.ts"
import { lastingSubscription } from "./LastingSubscription.ts"

/** A connection that held for so long was a good one: the pauses begin anew. */
const goodAfterMs = 1000

export interface ReconnectingOptions extends Partial<Reconnect> {
  /** For tests: 0 ≤ random < 1. */
  readonly random?: () => number
}

const lost = (message: string, data: object = {}): CrecheError =>
  new CrecheError(0, message, { ...data, tag: "ConnectionLost" })

const cancelled = (): CrecheError => new CrecheError(-32800, "the caller gave it up", { tag: "RequestCancelled" })

/** What a repeatable request may meet while its runtime ends or is away. */
const isPassing = (error: unknown): error is CrecheError =>
  error instanceof CrecheError && (error.tag === "ConnectionLost" || error.tag === "Draining")

/** Waits, unless the signal aborts first: then at once. */
const pause = (ms: number, signals: ReadonlyArray<AbortSignal | undefined>): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      for (const signal of signals) signal?.removeEventListener("abort", done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    for (const signal of signals) {
      if (signal?.aborted === true) return done()
      signal?.addEventListener("abort", done, { once: true })
    }
  })

/** Fails when the signal aborts before the promise settles; that one goes on. */
const unlessAborted = <A>(promise: Promise<A>, signal: AbortSignal | undefined): Promise<A> => {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const give = () => reject(cancelled())
    if (signal.aborted) return give()
    signal.addEventListener("abort", give, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", give))
  })
}

/** `first` is open; `dial` opens the next. */
export const reconnectingLink = (
  first: Link,
  dial: () => Promise<Link>,
  { random = Math.random, ...given }: ReconnectingOptions = {},
): Link => {
  const reconnect: Reconnect = { ...defaultReconnect, ...given }
  const stop = new AbortController()
  let over: CrecheError | undefined
  let current: Link | undefined
  /** The next connection, while there is none. */
  let coming: Promise<Link> | undefined
  let attempt = 0
  let closeNow!: () => void
  const closed = new Promise<void>((resolve) => (closeNow = resolve))

  const finish = (error: CrecheError): void => {
    if (over !== undefined) return
    over = error
    stop.abort()
    closeNow()
  }

  const take = (link: Link): Link => {
    const since = performance.now()
    current = link
    void link.closed.then(() => {
      if (current !== link) return
      current = undefined
      if (performance.now() - since >= goodAfterMs) attempt = 0
      if (over === undefined) expectNext(redial())
    })
    return link
  }

  const expectNext = (next: Promise<Link>): void => {
    coming = next
    // Whoever needs it awaits it; nobody may.
    next.catch(() => {})
  }

  const redial = async (): Promise<Link> => {
    const since = performance.now()
    while (true) {
      const { withinMs } = reconnect
      const left = withinMs === null ? Infinity : withinMs - (performance.now() - since)
      await pause(Math.max(0, Math.min(pauseMs(reconnect, attempt++, random()), left)), [stop.signal])
      if (over !== undefined) throw over
      try {
        const link = await dial()
        if (over === undefined) return take(link)
        await link.close()
      } catch (error) {
        // It is there, and lets this client in no more.
        const isRefused = error instanceof CrecheError && error.tag === "Unauthorized"
        if (!isRefused && (withinMs === null || performance.now() - since < withinMs)) continue
        const { message } = error as Error
        const gaveUp = () => lost(`the runtime did not come back within ${withinMs} ms: ${message}`, { withinMs })
        finish(isRefused ? error : gaveUp())
      }
      throw over
    }
  }

  const ready = async (signal: AbortSignal | undefined): Promise<Link> => {
    if (over !== undefined) throw over
    return current ?? (await unlessAborted(coming!, signal))
  }

  /** Until it is done, or fails by itself. */
  const repeat = async <A>(signal: AbortSignal | undefined, act: (link: Link) => Promise<A>): Promise<A> => {
    for (let again = 0; ; again++) {
      const link = await ready(signal)
      try {
        return await act(link)
      } catch (error) {
        if (!isPassing(error) || over !== undefined) throw over ?? error
        if (signal?.aborted === true) throw cancelled()
        // The runtime still answers, and soon ends: its successor may take this.
        if (error.tag === "Draining") await pause(pauseMs(reconnect, again, random()), [signal, stop.signal])
        // The link knows of its end before `current` does.
        else await link.closed
      }
    }
  }

  const once = async <A>(method: Method, act: (link: Link) => Promise<A>): Promise<A> => {
    if (over !== undefined) throw over
    if (current === undefined)
      throw lost(`the runtime is away: ${method} was not sent, as it is not safe to repeat`, { method, sent: false })
    try {
      return await act(current)
    } catch (error) {
      if (!(error instanceof CrecheError) || error.tag !== "ConnectionLost") throw error
      throw lost(`the connection was lost before the answer came: ${method} may have been done, and was not repeated`, {
        method,
        sent: true,
      })
    }
  }

  const request: Link["request"] = (method, params, options: RequestOptions = {}) => {
    if (!isRepeatable(method, params)) return once(method, (link) => link.request(method, params, options))
    const keyed = withKey(method, params, randomUUID)
    return repeat(options.signal, (link) => link.request(method, keyed, options))
  }

  const ask: Link["ask"] = async (params, options = {}) => {
    const keyed = withKey("session/ask", params, randomUUID)
    const { onEntry, onMissed } = options
    if (onEntry === undefined) return repeat(options.signal, (link) => link.ask(keyed, options))
    const listener = new OnceEach(onEntry, onMissed)
    const signal = AbortSignal.any([listener.signal, ...(options.signal === undefined ? [] : [options.signal])])
    const listening = { onEntry: listener.onEntry, onMissed: listener.onMissed, signal }
    try {
      return await repeat(signal, (link) => link.ask(keyed, listening))
    } catch (error) {
      throw listener.broken === undefined ? error : listener.broken.error
    }
  }

  take(first)
  return {
    request,
    ask,
    subscribe: (params, options) =>
      lastingSubscription({ request, repeat, isOver: () => over !== undefined }, params, options),
    close: async () => {
      finish(lost("the connection to the runtime is over: this client closed it"))
      await current?.close()
      await coming?.then(
        (link) => link.close(),
        () => {},
      )
    },
    closed,
  }
}

/** Each entry of a turn once, however often the turn is asked for; a listener that throws fails the ask, not the connection. */
class OnceEach {
  broken: { readonly error: unknown } | undefined = undefined
  readonly #abort = new AbortController()
  readonly #listener: NonNullable<AskOptions["onEntry"]>
  readonly #missed: AskOptions["onMissed"]
  #through = 0

  constructor(listener: NonNullable<AskOptions["onEntry"]>, missed: AskOptions["onMissed"]) {
    this.#listener = listener
    this.#missed = missed
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  readonly onEntry = (entry: WireEntry): unknown => this.#tell(entry.seq, () => this.#listener(entry))

  readonly onMissed = (missed: MissedRange): void => {
    this.#tell(missed.through, () => this.#missed?.(missed))
  }

  #tell(through: number, listen: () => unknown): unknown {
    if (through <= this.#through || this.broken !== undefined) return undefined
    this.#through = through
    try {
      const settled = listen()
      return settled instanceof Promise ? settled.catch(this.#break) : undefined
    } catch (error) {
      return this.#break(error)
    }
  }

  readonly #break = (error: unknown): void => {
    this.broken = { error }
    this.#abort.abort()
  }
}
