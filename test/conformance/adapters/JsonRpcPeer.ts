/** The JSON-RPC of the contract by hand, over anything that carries texts: for standard streams, the socket and the WebSocket. */
import type { Answer, ConformanceClient, Failure, Followed, FollowedEvent } from "../ConformanceClient.ts"

export interface Carrier {
  readonly send: (text: string) => void
  /** Called once, before anything is sent. */
  readonly onMessage: (take: (text: string) => void) => void
  /** `failure`: the transport's own word for what was wrong with a message. */
  readonly onClose: (gone: (failure?: Failure) => void) => void
  readonly destroy: () => Promise<void>
}

export const failureOf = ({ code, message, data = {} }: any): Failure => ({
  tag: data.tag ?? "none",
  code,
  data,
  message,
})

/** So many bytes in all, by blanks before the last brace. */
export const padded = (text: string, bytes: number | undefined): string =>
  bytes === undefined ? text : `${text.slice(0, -1)}${" ".repeat(bytes - Buffer.byteLength(text))}}`

export const jsonRpcPeer = (carrier: Carrier): ConformanceClient => {
  const waiting = new Map<number, { readonly take: (message: any) => void; readonly fail: (error: Error) => void }>()
  const streams = new Map<number, Array<any>>()
  const subscriptions = new Map<string, Array<FollowedEvent>>()
  /** Events of a subscription whose answer is still to come would be a fault of the transport: they are counted as unknown. */
  const unknown: Array<unknown> = []
  let lastId = 0
  let isOver = false

  carrier.onMessage((text) => {
    const message = JSON.parse(text)
    if (message.jsonrpc !== "2.0") throw new Error(`no JSON-RPC: ${text.slice(0, 200)}`)
    if (message.method === "session/event") {
      const { subscription, request, ...event } = message.params
      if (subscription !== undefined) (subscriptions.get(subscription) ?? unknown).push(event)
      else if ("entry" in event) streams.get(request)?.push(event.entry)
      return
    }
    // What could not be read has no id: with one request under way it is that one.
    const id = message.id ?? [...waiting.keys()].at(-1)
    waiting.get(id)?.take(message)
    waiting.delete(id)
  })
  carrier.onClose((failure) => {
    isOver = true
    for (const { take, fail } of waiting.values()) {
      if (failure === undefined) fail(new Error("the connection is over"))
      else take({ error: failure })
    }
    waiting.clear()
  })

  const request: ConformanceClient["request"] = (method, params, { signal, bytes } = {}) =>
    new Promise<Answer>((resolve, reject) => {
      if (isOver) return reject(new Error("the connection is over"))
      const id = ++lastId
      const take = (message: any) => {
        if (unknown.length > 0) return reject(new Error(`an event of no subscription: ${JSON.stringify(unknown[0])}`))
        if (message.error !== undefined) resolve({ ok: false, failure: failureOf(message.error) })
        else {
          // Before the next message: its first event may be in the same chunk.
          if (method === "session/subscribe") subscriptions.set(message.result.subscription, [])
          resolve({ ok: true, result: message.result })
        }
      }
      waiting.set(id, { take, fail: reject })
      const text = JSON.stringify({ jsonrpc: "2.0", id, method, ...(params === undefined ? {} : { params }) })
      carrier.send(padded(text, bytes))
      signal?.addEventListener("abort", () =>
        carrier.send(JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } })),
      )
    })

  return {
    request,
    stream: (params, options) => {
      const entries: Array<any> = []
      streams.set(lastId + 1, entries)
      return { entries, answer: request("session/ask", { ...params, stream: true }, options) }
    },
    subscribe: async (params) => {
      const answer = await request("session/subscribe", params)
      if (!answer.ok) return answer.failure
      const id = answer.result.subscription
      const followed: Followed = {
        id,
        events: subscriptions.get(id)!,
        close: async () => void (await request("session/unsubscribe", { subscription: id })),
      }
      return followed
    },
    disconnect: carrier.destroy,
  }
}
