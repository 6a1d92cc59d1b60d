/**
 * The client: promises over one connection to a runtime, typed by the contract. It loads nothing of Effect
 * at run time, so that a command line starts fast. It does not reconnect: when the connection is over,
 * what was asked fails with `ConnectionLost`. Used by the CLI and by programs.
 */
import * as net from "node:net"
import type { Duplex } from "node:stream"
import type { Method, Params, Result } from "../transport/Contract.ts"
import { MessageDecoder } from "../transport/MessageDecoder.ts"
import type { MissedRange, SessionEvent, WireEntry, WireSession, WireTurn } from "../transport/Wire.ts"
import { CrecheError } from "./CrecheError.ts"
import { EventQueue } from "./EventQueue.ts"

export interface RequestOptions {
  /** Aborting cancels the request; it then fails with the tag `RequestCancelled`. */
  readonly signal?: AbortSignal
}

/** An entry, or word of entries that were dropped before they could be read. */
export type SubscriptionEvent = { readonly entry: WireEntry } | { readonly missed: MissedRange }

/** Iterate it once. Leaving the loop ends the subscription. */
export interface ClientSubscription extends AsyncIterable<SubscriptionEvent> {
  readonly id: string
  readonly close: () => Promise<void>
}

type AskOptions = RequestOptions & {
  /** Called with each transcript entry of the turn as it comes, before the answer. */
  readonly onEntry?: (entry: WireEntry) => void
}

export interface Client {
  readonly request: <M extends Method>(method: M, params: Params<M>, options?: RequestOptions) => Promise<Result<M>>
  readonly start: (spec: Params<"session/start">, options?: RequestOptions) => Promise<WireSession>
  /** The turn once it ended; a turn that did not complete is a result too. */
  readonly ask: (params: Params<"session/ask">, options?: AskOptions) => Promise<WireTurn>
  readonly tell: (params: Params<"session/tell">, options?: RequestOptions) => Promise<WireTurn>
  readonly subscribe: (params: Params<"session/subscribe">, options?: RequestOptions) => Promise<ClientSubscription>
  readonly close: () => Promise<void>
  /** Resolves once the connection is over, for whatever reason. */
  readonly closed: Promise<void>
}

interface Waiting {
  readonly resolve: (result: any) => void
  readonly reject: (error: CrecheError) => void
  readonly onEntry: ((entry: WireEntry) => void) | undefined
}

/** While this many events wait for their reader and no request waits for its answer, nothing more is read. */
const heldEvents = 4096

/** A client over a connection that is open already. */
export const open = (stream: Duplex): Client => {
  const waiting = new Map<number, Waiting>()
  const subscriptions = new Map<string, EventQueue<SubscriptionEvent>>()
  let lastId = 0
  let lost: CrecheError | undefined
  let close!: () => void
  const closed = new Promise<void>((resolve) => (close = resolve))

  const flow = (): void => {
    let held = 0
    for (const events of subscriptions.values()) held += events.length
    if (held >= heldEvents && waiting.size === 0) stream.pause()
    else stream.resume()
  }

  const onEvent = (event: SessionEvent): void => {
    if ("subscription" in event) {
      const { subscription, ...rest } = event
      subscriptions.get(subscription)?.push(rest)
      flow()
    } else if ("entry" in event) waiting.get(event.request as number)?.onEntry?.(event.entry)
  }

  const onMessage = (text: string): void => {
    const message = JSON.parse(text)
    if (message.method === "session/event") return onEvent(message.params)
    const call = waiting.get(message.id)
    if (call === undefined) return
    waiting.delete(message.id)
    if (message.error === undefined) call.resolve(message.result)
    else call.reject(CrecheError.fromWire(message.error))
    flow()
  }

  const end = (detail: string): void => {
    if (lost !== undefined) return
    lost = new CrecheError(0, `the connection to the runtime is over: ${detail}`, { tag: "ConnectionLost" })
    stream.destroy()
    for (const call of waiting.values()) call.reject(lost)
    waiting.clear()
    for (const events of subscriptions.values()) events.end()
    close()
  }

  const decoder = new MessageDecoder(
    { onMessage, onTooLarge: () => end("a message was too large"), onMalformed: end },
    Number.MAX_SAFE_INTEGER,
  )
  stream.on("data", (chunk: Buffer) => {
    try {
      decoder.push(chunk)
    } catch (error) {
      // A listener of the caller threw, or the peer speaks something else.
      end(String(error))
    }
  })
  stream.on("error", (error) => end(error.message))
  stream.on("end", () => end("the runtime closed it"))
  stream.on("close", () => end("it was closed"))

  const send = (message: object): void => void stream.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)

  const call = <A>(
    method: Method,
    params: unknown,
    { signal, onEntry }: AskOptions,
    then: (result: any) => A,
  ): Promise<A> =>
    new Promise<A>((resolve, reject) => {
      if (lost !== undefined) return reject(lost)
      const id = ++lastId
      const cancel = () => send({ method: "$/cancelRequest", params: { id } })
      const settle =
        <V>(act: (value: V) => void) =>
        (value: V) => {
          signal?.removeEventListener("abort", cancel)
          act(value)
        }
      // Runs before the next message is read: a subscription is known when its first event comes.
      waiting.set(id, { resolve: settle((result) => resolve(then(result))), reject: settle(reject), onEntry })
      send({ id, method, params })
      flow()
      if (signal?.aborted === true) cancel()
      else signal?.addEventListener("abort", cancel, { once: true })
    })

  const same = <A>(result: A): A => result
  const request: Client["request"] = (method, params, options = {}) => call(method, params, options, same)

  const subscribed = ({ subscription: id }: { readonly subscription: string }): ClientSubscription => {
    const events = new EventQueue<SubscriptionEvent>(flow)
    subscriptions.set(id, events)
    const finish = async () => {
      if (!subscriptions.delete(id)) return
      events.end()
      flow()
      if (lost === undefined) await request("session/unsubscribe", { subscription: id }).catch(() => {})
    }
    return { id, close: finish, [Symbol.asyncIterator]: () => events.iterate(finish) }
  }

  return {
    request,
    start: (spec, options) => request("session/start", spec, options),
    ask: (params, options = {}) =>
      call("session/ask", options.onEntry === undefined ? params : { ...params, stream: true }, options, same),
    tell: (params, options) => request("session/tell", params, options),
    subscribe: (params, options = {}) => call("session/subscribe", params, options, subscribed),
    close: () => {
      end("this client closed it")
      return closed
    },
    closed,
  }
}

export interface ConnectOptions {
  /** The path of the runtime's socket. */
  readonly socket: string
  /** Milliseconds until `connect` gives up; default 5000. */
  readonly timeoutMs?: number
}

/** Connects to a runtime; fails with the tag `NoRuntime` where none listens. */
export const connect = ({ socket: path, timeoutMs = 5000 }: ConnectOptions): Promise<Client> =>
  new Promise((resolve, reject) => {
    const socket = net.connect(path)
    const refuse = (detail: string, errno: string) => {
      socket.destroy()
      reject(new CrecheError(0, `no runtime answers on ${path}: ${detail}`, { tag: "NoRuntime", socket: path, errno }))
    }
    const timer = setTimeout(() => refuse(`no connection within ${timeoutMs} ms`, "ETIMEDOUT"), timeoutMs)
    socket.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      refuse(reasons[error.code ?? ""] ?? error.message, error.code ?? "unknown")
    })
    socket.once("connect", () => {
      clearTimeout(timer)
      socket.removeAllListeners("error")
      resolve(open(socket))
    })
  })

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "there is no such socket; start one with `creche serve`",
  ECONNREFUSED: "nobody listens there any more; start one with `creche serve`",
  EACCES: "it belongs to another user",
  ENOTSOCK: "it is not a socket",
}
