/**
 * The resources that a client subscribed to: says that one has changed, seldom enough not to flood. One subscription of the
 * runtime for each. Owned by `McpSession`.
 */
import { LimitReached } from "../domain/Errors.ts"
import * as JsonRpc from "./JsonRpc.ts"
import type { McpChannel } from "./McpProgress.ts"
import type { Address } from "./McpResources.ts"
import { type McpUpstream, UpstreamError, type UpstreamSubscription } from "./McpUpstream.ts"

const mostWatches = 100
/** Changes that come sooner after one that was told are told together. */
const intervalMs = 250

/** A turn changes until it ended; then nothing comes for it any more. */
const paramsOf = async (upstream: McpUpstream, address: Address) => {
  switch (address.type) {
    case "sessions":
      return { types: ["status" as const] }
    case "turn":
      return {
        session: (await upstream.request("turn/get", { turn: address.turn })).session,
        types: ["turn/ended" as const],
      }
    default:
      return { session: address.session }
  }
}

export class McpWatches {
  readonly #upstream: McpUpstream
  readonly #push: McpChannel
  readonly #watched = new Map<string, UpstreamSubscription | undefined>()
  #over = false

  constructor(upstream: McpUpstream, push: McpChannel) {
    this.#upstream = upstream
    this.#push = push
  }

  async watch(uri: string, address: Address): Promise<void> {
    if (this.#watched.has(uri)) return
    if (this.#watched.size >= mostWatches) {
      throw new UpstreamError(
        JsonRpc.runtimeError(new LimitReached({ limit: "resources watched by a client", value: mostWatches })),
      )
    }
    this.#watched.set(uri, undefined)
    try {
      const subscription = await this.#upstream.subscribe(await paramsOf(this.#upstream, address))
      if (!this.#watched.has(uri) || this.#over) return await subscription.close()
      this.#watched.set(uri, subscription)
      this.#pump(uri, subscription).catch(() => {})
    } catch (error) {
      this.#watched.delete(uri)
      throw error
    }
  }

  unwatch(uri: string): void {
    const subscription = this.#watched.get(uri)
    this.#watched.delete(uri)
    subscription?.close().catch(() => {})
  }

  close(): void {
    this.#over = true
    for (const uri of this.#watched.keys()) this.unwatch(uri)
  }

  async #pump(uri: string, subscription: UpstreamSubscription): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    /** Something happened that was not told yet. */
    let changed = false
    let telling = false
    const tell = async () => {
      timer = undefined
      if (telling || this.#over || this.#watched.get(uri) !== subscription) return
      telling = true
      changed = false
      this.#push.send(JsonRpc.notification("notifications/resources/updated", { uri }))
      await this.#push.room()
      telling = false
      if (changed) timer ??= setTimeout(tell, intervalMs)
    }
    try {
      for await (const _ of subscription) {
        changed = true
        if (!telling) timer ??= setTimeout(tell, intervalMs)
      }
    } finally {
      // It was removed, or its runtime is gone: both are changes.
      clearTimeout(timer)
      telling = false
      await tell()
      clearTimeout(timer)
      if (this.#watched.get(uri) === subscription) this.#watched.delete(uri)
    }
  }
}
