/** What is under way on an HTTP server, counted against its limits: requests by caller, streams, bytes on their way. Called by the server. */
import type { ServerResponse } from "node:http"
import { LimitReached } from "../domain/Errors.ts"
import type { Caller } from "./HttpAccess.ts"
import type { HttpLimits } from "./HttpLimits.ts"
import type { Problem } from "./Problem.ts"
import type { Stream } from "./Sse.ts"

export class HttpLoad {
  readonly #limits: HttpLimits
  readonly streams = new Map<Stream, Caller>()
  /** What ends each request that waits for its answer. */
  readonly waits = new Map<(problem: Problem) => void, Caller>()
  /** Requests under way by token; null for those without. */
  readonly #pending = new Map<string | null, number>()
  #heldBytes = 0
  #unsent = 0
  readonly #held = new WeakMap<ServerResponse, number>()

  constructor(limits: HttpLimits) {
    this.#limits = limits
  }

  get counts() {
    let pending = 0
    for (const each of this.#pending.values()) pending += each
    return { streams: this.streams.size, pending }
  }

  /** Answers that were made and are not with the operating system yet. */
  get unsent(): number {
    return this.#unsent
  }

  /** `sent`: the answer is out, or its peer is gone. */
  send(response: ServerResponse, sent: () => void): void {
    response.once("prefinish", () => {
      if (response.destroyed) return
      this.#unsent++
      const once = () => {
        response.off("finish", once)
        response.off("close", once)
        this.#unsent--
        sent()
      }
      response.on("finish", once)
      response.on("close", once)
    })
  }

  /** One more request of the caller, until its response is over. */
  take(caller: Caller, response: ServerResponse): LimitReached | undefined {
    const { maxPending } = this.#limits
    if ((this.#pending.get(caller.id) ?? 0) >= maxPending) {
      return new LimitReached({ limit: "pending requests of a token", value: maxPending })
    }
    this.#count(caller, 1)
    response.once("close", () => this.#count(caller, -1))
    return undefined
  }

  /** Whether one more stream of events may be opened. */
  streamsLimit(): LimitReached | undefined {
    const { maxStreams } = this.#limits
    return this.streams.size < maxStreams ? undefined : new LimitReached({ limit: "event streams", value: maxStreams })
  }

  /** `listens`: bounded by `maxStreams`, and no request that somebody waits for. */
  keep(stream: Stream, caller: Caller, response: ServerResponse, listens: boolean): void {
    this.streams.set(stream, caller)
    if (listens) this.#count(caller, -1)
    response.once("close", () => {
      this.streams.delete(stream)
      if (listens) this.#count(caller, 1)
    })
  }

  /** Gives what says that the wait is over. */
  wait(caller: Caller, end: (problem: Problem) => void): () => void {
    this.waits.set(end, caller)
    return () => void this.waits.delete(end)
  }

  /** Whether there is room for so much more; it is given back when the response is over. */
  hold(response: ServerResponse, bytes: number): LimitReached | undefined {
    const { maxHeldBytes } = this.#limits
    if (this.#heldBytes + bytes > maxHeldBytes) {
      return new LimitReached({ limit: "bytes of bodies and answers on their way", value: maxHeldBytes })
    }
    this.#heldBytes += bytes
    const before = this.#held.get(response)
    this.#held.set(response, (before ?? 0) + bytes)
    if (before === undefined) response.once("close", () => (this.#heldBytes -= this.#held.get(response) ?? 0))
    return undefined
  }

  #count({ id }: Caller, by: 1 | -1): void {
    const count = (this.#pending.get(id) ?? 0) + by
    if (count === 0) this.#pending.delete(id)
    else this.#pending.set(id, count)
  }
}
