/**
 * A link over one connection, which loads nothing of Effect at run time, so that a command line starts fast. It does not
 * reconnect: when the connection is over, what was asked fails with `ConnectionLost`. Made by `Connect`.
 */
import type { Duplex } from "node:stream"
import type { Method } from "../transport/Contract.ts"
import { defaultLimitBytes, MessageDecoder } from "../transport/MessageDecoder.ts"
import type { SessionEvent } from "../transport/Wire.ts"
import { CrecheError } from "./CrecheError.ts"
import { EventQueue } from "./EventQueue.ts"
import type { AskOptions, ClientSubscription, Ending, Link, SubscriptionEvent } from "./Link.ts"
import { TurnEntries } from "./TurnEntries.ts"

interface Waiting {
  readonly resolve: (result: any) => void
  readonly reject: (error: CrecheError) => void
  readonly entries: TurnEntries | undefined
  readonly onMissed: AskOptions["onMissed"]
}

interface Subscribed {
  readonly events: EventQueue<SubscriptionEvent>
  ending: Ending | undefined
}

const tooLarge = (bytes: number): CrecheError =>
  new CrecheError(
    0,
    `the message has ${bytes} bytes, and a runtime takes at most ${defaultLimitBytes}; it was not sent`,
    {
      tag: "MessageTooLarge",
      limitBytes: defaultLimitBytes,
      bytes,
    },
  )

/** While this many events wait for their reader and no request waits for its answer, nothing more is read. */
const heldEvents = 4096

/** Over a connection that is open already. */
export const streamLink = (stream: Duplex): Link => {
  const waiting = new Map<number, Waiting>()
  const subscriptions = new Map<string, Subscribed>()
  let lastId = 0
  let lost: CrecheError | undefined
  let close!: () => void
  const closed = new Promise<void>((resolve) => (close = resolve))

  const flow = (): void => {
    let held = 0
    for (const { events } of subscriptions.values()) held += events.length
    let slow = 0
    for (const call of waiting.values()) if (call.entries?.unsettled === true) slow++
    const full = held >= heldEvents || slow > 0
    // Who waits for an answer may be the very one that shall take the events.
    if (full && waiting.size === slow) stream.pause()
    else stream.resume()
  }

  const onEvent = (event: SessionEvent): void => {
    if ("subscription" in event) {
      const { subscription, ...rest } = event
      if ("ended" in rest) finishSubscription(subscription, "removed")
      else subscriptions.get(subscription)?.events.push(rest)
      flow()
    } else {
      const call = waiting.get(event.request as number)
      if ("missed" in event) call?.onMissed?.(event.missed)
      else call?.entries?.push(event.entry)
      flow()
    }
  }

  const onMessage = (text: string): void => {
    const message = JSON.parse(text)
    if (message.method === "session/event") return onEvent(message.params)
    // The runtime could not read whose message it refused: it may have been any of those that wait.
    if (message.id === null && message.error !== undefined) return failAll(CrecheError.fromWire(message.error))
    const call = waiting.get(message.id)
    if (call === undefined) return
    const answer = () => {
      // It may have failed meanwhile, with the connection.
      if (!waiting.delete(message.id)) return
      if (message.error === undefined) call.resolve(message.result)
      else call.reject(CrecheError.fromWire(message.error))
    }
    if (call.entries === undefined) answer()
    else call.entries.whenDone(answer)
    flow()
  }

  const failAll = (error: CrecheError): void => {
    const calls = [...waiting.values()]
    waiting.clear()
    for (const call of calls) call.reject(error)
    flow()
  }

  const end = (detail: string): void => {
    if (lost !== undefined) return
    lost = new CrecheError(0, `the connection to the runtime is over: ${detail}`, { tag: "ConnectionLost" })
    stream.destroy()
    for (const call of waiting.values()) call.reject(lost)
    waiting.clear()
    for (const id of subscriptions.keys()) finishSubscription(id, "lost")
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

  const textOf = (message: object): string => JSON.stringify({ jsonrpc: "2.0", ...message })
  const send = (text: string): void => void stream.write(`${text}\n`)

  const call = <A>(
    method: Method,
    params: unknown,
    { signal, onEntry, onMissed }: AskOptions,
    then: (result: any) => A,
  ): Promise<A> =>
    new Promise<A>((resolve, reject) => {
      if (lost !== undefined) return reject(lost)
      const id = ++lastId
      const text = textOf({ id, method, params })
      const bytes = Buffer.byteLength(text)
      if (bytes > defaultLimitBytes) return reject(tooLarge(bytes))
      const cancel = () => send(textOf({ method: "$/cancelRequest", params: { id } }))
      const settle =
        <V>(act: (value: V) => void) =>
        (value: V) => {
          signal?.removeEventListener("abort", cancel)
          act(value)
        }
      // Runs before the next message is read: a subscription is known when its first event comes.
      waiting.set(id, {
        resolve: settle((result) => resolve(then(result))),
        reject: settle(reject),
        entries: onEntry && new TurnEntries(onEntry, flow, (error) => end(String(error))),
        onMissed,
      })
      send(text)
      flow()
      if (signal?.aborted === true) cancel()
      else signal?.addEventListener("abort", cancel, { once: true })
    })

  const same = <A>(result: A): A => result
  const request: Link["request"] = (method, params, options = {}) => call(method, params, options, same)

  const finishSubscription = (id: string, ending: Ending): void => {
    const subscription = subscriptions.get(id)
    if (subscription === undefined) return
    subscriptions.delete(id)
    subscription.ending = ending
    subscription.events.end()
    flow()
  }

  const subscribed = ({ subscription: id }: { readonly subscription: string }): ClientSubscription => {
    const subscription: Subscribed = { events: new EventQueue<SubscriptionEvent>(flow), ending: undefined }
    subscriptions.set(id, subscription)
    const close = async () => {
      if (!subscriptions.has(id)) return
      finishSubscription(id, "closed")
      if (lost === undefined) await request("session/unsubscribe", { subscription: id }).catch(() => {})
    }
    return {
      id,
      ending: () => subscription.ending,
      close,
      [Symbol.asyncIterator]: () => subscription.events.iterate(close),
    }
  }

  return {
    request,
    ask: (params, options = {}) =>
      call("session/ask", options.onEntry === undefined ? params : { ...params, stream: true }, options, same),
    subscribe: (params, options = {}) => call("session/subscribe", params, options, subscribed),
    close: () => {
      end("this client closed it")
      return closed
    },
    closed,
  }
}
