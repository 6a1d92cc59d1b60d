/**
 * A subscription that goes on after its connection was lost, each entry once: of a session by its id and the last `seq` seen,
 * of all sessions by the last of each. Asks for nothing while nobody iterates. Made by `ReconnectingLink`.
 */
import type { Params } from "../transport/Contract.ts"
import { CrecheError } from "./CrecheError.ts"
import type { ClientSubscription, Ending, Link, SubscriptionEvent } from "./Link.ts"
import { type Request, type RequestOptions, sessionPages, transcriptPages } from "./Pages.ts"

interface Way {
  /** Repeated until it is answered, as all that reads. */
  readonly request: Request
  /** Gives the action a live connection, and a next one when that is lost. */
  readonly repeat: <A>(signal: AbortSignal | undefined, act: (link: Link) => Promise<A>) => Promise<A>
  readonly isOver: () => boolean
}

type Query = Params<"session/subscribe">

/** What was seen of each session, by its id. */
class Positions {
  readonly #seqs = new Map<string, number>()

  of(session: string): number {
    return this.#seqs.get(session) ?? 0
  }

  /** Permission requests that still wait come first, with a `seq` of long ago. */
  reach(session: string, seq: number): void {
    if (seq > this.of(session)) this.#seqs.set(session, seq)
  }

  see(event: SubscriptionEvent): void {
    if ("entry" in event) this.reach(event.entry.session, event.entry.seq)
    else this.reach(event.missed.session, event.missed.through)
  }

  /** Whether nothing of it is new. */
  has(event: SubscriptionEvent): boolean {
    return "entry" in event
      ? event.entry.seq <= this.of(event.entry.session)
      : event.missed.through <= this.of(event.missed.session)
  }
}

const isNotFound = (error: unknown): boolean => error instanceof CrecheError && error.tag === "SessionNotFound"

export const lastingSubscription = async (
  way: Way,
  query: Query,
  options: RequestOptions = {},
): Promise<ClientSubscription> => {
  const { signal } = options
  const positions = new Positions()
  const gaveUp = new AbortController()
  let ending: Ending | undefined

  const begin = async (
    link: Link,
  ): Promise<{ readonly inner: ClientSubscription; readonly id: string | undefined }> => {
    if (query.session === undefined) {
      for await (const page of sessionPages(link.request, {}, options))
        for (const { id, seq } of page) positions.reach(id, seq)
      return { inner: await link.subscribe(query, options), id: undefined }
    }
    // By its id from here on: another session may get the name while the runtime is away.
    const { id, seq } = await link.request("session/get", { session: query.session }, options)
    const inner = await link.subscribe({ ...query, session: id }, options)
    positions.reach(id, query.after ?? seq)
    return { inner, id }
  }
  let { inner, id } = await way.repeat(signal, begin)

  const subscribeAgain = (): Promise<ClientSubscription> =>
    way.repeat(gaveUp.signal, (link) => {
      const again: Query = id === undefined ? query : { ...query, session: id, after: positions.of(id) }
      return link.subscribe(again, { signal: gaveUp.signal })
    })

  /** What all sessions said while nobody listened. */
  async function* meanwhile(): AsyncGenerator<SubscriptionEvent, void> {
    const options = { signal: gaveUp.signal }
    for await (const sessions of sessionPages(way.request, {}, options)) {
      for (const session of sessions) {
        const after = positions.of(session.id)
        if (after >= session.seq) continue
        const types = query.types === undefined ? {} : { types: query.types }
        try {
          const pages = transcriptPages(
            way.request,
            { session: session.id, after, through: session.seq, ...types },
            options,
          )
          for await (const { entries, missed } of pages) {
            if (missed !== undefined) yield { missed: { ...missed, session: session.id } }
            for (const entry of entries) yield { entry }
          }
        } catch (error) {
          if (!isNotFound(error)) throw error
        }
        positions.reach(session.id, session.seq)
      }
    }
  }

  async function* events(): AsyncGenerator<SubscriptionEvent, void> {
    try {
      let again = false
      while (true) {
        if (again && id === undefined)
          for await (const event of meanwhile()) {
            positions.see(event)
            yield event
          }
        for await (const event of inner) {
          // Live entries of a session came with what it said meanwhile too.
          if (again && positions.has(event)) continue
          positions.see(event)
          yield event
        }
        if (ending !== undefined) return
        const why = inner.ending()
        if (why !== "lost" || way.isOver()) {
          ending = why
          return
        }
        inner = await subscribeAgain()
        again = true
      }
    } catch (error) {
      if (ending !== undefined) return
      ending = isNotFound(error) ? "removed" : "lost"
      if (ending === "lost" && !way.isOver()) throw error
    } finally {
      await close()
    }
  }

  const close = async (): Promise<void> => {
    ending ??= "closed"
    gaveUp.abort()
    await inner.close()
  }

  return {
    get id() {
      return inner.id
    },
    ending: () => ending,
    close,
    [Symbol.asyncIterator]: events,
  }
}
