/**
 * One session, as a thing to talk to: `for await (const entry of client.session("demo").ask("…"))`. Holds a name and the
 * link, nothing of the session itself, so it stays good whatever becomes of that. Made by `Client`.
 */
import type { Params } from "../transport/Contract.ts"
import type { WireEntry, WireSession, WireTurn } from "../transport/Wire.ts"
import { AskedTurn } from "./AskedTurn.ts"
import type { ClientSubscription, Link } from "./Link.ts"
import {
  each,
  entriesOf,
  type HistoryPages,
  historyPages,
  type Missed,
  type RequestOptions,
  type TranscriptPages,
} from "./Pages.ts"

type Prompt = Params<"session/ask">["prompt"]
type Without<P, Named extends string = "session"> = Omit<P, Named>
type AskParams = Without<Params<"session/ask">, "session" | "prompt" | "stream"> & RequestOptions

export class SessionHandle {
  /** Name, task or id, as it was given. */
  readonly name: string
  readonly #link: Link

  constructor(link: Link, name: string) {
    this.#link = link
    this.name = name
  }

  /** Asks at once. Iterate what it gives for the turn's entries as they come; its `turn` is the ended turn. */
  ask(prompt: Prompt, { signal, ...params }: AskParams = {}): AskedTurn {
    return new AskedTurn(this.#link, { ...params, session: this.name, prompt }, signal)
  }

  /** The turn, queued, once it is durable. */
  tell(prompt: Prompt, { signal, ...params }: AskParams = {}): Promise<WireTurn> {
    return this.#link.request("session/tell", { ...params, session: this.name, prompt }, optionsOf(signal))
  }

  get(options?: RequestOptions): Promise<WireSession> {
    return this.#link.request("session/get", { session: this.name }, options)
  }

  /** Cancels a turn, by default the running one. */
  cancel(turn?: string, options?: RequestOptions): Promise<WireTurn> {
    const params = turn === undefined ? { session: this.name } : { session: this.name, turn }
    return this.#link.request("session/cancel", params, options)
  }

  /** Answers a permission request: `allow`, `allow_always`, `deny`, or an option's own id. */
  answer(
    request: string,
    outcome: string,
    { signal, ...rest }: Without<Params<"session/answer">, "session" | "request" | "outcome"> & RequestOptions = {},
  ): Promise<WireSession> {
    return this.#link.request("session/answer", { ...rest, session: this.name, request, outcome }, optionsOf(signal))
  }

  suspend(options?: RequestOptions): Promise<WireSession> {
    return this.#link.request("session/suspend", { session: this.name }, options)
  }

  resume(options?: RequestOptions): Promise<WireSession> {
    return this.#link.request("session/resume", { session: this.name }, options)
  }

  restart(options?: RequestOptions): Promise<WireSession> {
    return this.#link.request("session/restart", { session: this.name }, options)
  }

  stop(mode: "graceful" | "kill" = "graceful", options?: RequestOptions): Promise<WireSession> {
    return this.#link.request("session/stop", { session: this.name, mode }, options)
  }

  async remove(options?: RequestOptions): Promise<void> {
    await this.#link.request("session/remove", { session: this.name }, options)
  }

  /** Live entries, and with `after` what is stored before them. */
  subscribe(query: Without<Params<"session/subscribe">> = {}, options?: RequestOptions): Promise<ClientSubscription> {
    return this.#link.subscribe({ ...query, session: this.name }, options)
  }

  /** Every entry that is there, in order, and then the end. */
  transcript(
    query: Without<TranscriptPages> = {},
    options?: RequestOptions & { readonly onMissed?: (missed: Missed) => void },
  ): AsyncGenerator<WireEntry, void> {
    return entriesOf(this.#link.request, { ...query, session: this.name }, options)
  }

  /** Every turn, newest first. */
  history(query: Without<HistoryPages> = {}, options?: RequestOptions): AsyncGenerator<WireTurn, void> {
    return each(historyPages(this.#link.request, { ...query, session: this.name }, options))
  }
}

const optionsOf = (signal: AbortSignal | undefined): RequestOptions => (signal === undefined ? {} : { signal })
