/**
 * What the suite asks of a transport: one client, whatever carries its messages. An adapter says each thing in the words of
 * its transport and takes nothing from `src/client`. Types alone, and how long anything is waited for.
 */

/** What a request failed with. */
export interface Failure {
  readonly tag: string
  readonly code: number
  /** The tag and the identity fields. */
  readonly data: Readonly<Record<string, unknown>>
  readonly message: string
  /** Of HTTP alone. */
  readonly status?: number
}

export type Answer =
  | { readonly ok: true; readonly result: any; readonly status?: number }
  | { readonly ok: false; readonly failure: Failure }

export interface RequestOptions {
  /** Gives the request up. */
  readonly signal?: AbortSignal
  /** Blanks are added until the message, or the body, has so many bytes. */
  readonly bytes?: number
}

export type FollowedEvent =
  | { readonly entry: any }
  | { readonly missed: { readonly session: string; readonly after: number; readonly through: number } }
  | { readonly ended: true }

/** A subscription that was made. */
export interface Followed {
  readonly id: string
  /** All that came so far. */
  readonly events: ReadonlyArray<FollowedEvent>
  /** Ends the subscription, and keeps the connection. */
  readonly close: () => Promise<void>
}

export interface Streamed {
  /** The entries of the turn that came so far. */
  readonly entries: ReadonlyArray<any>
  readonly answer: Promise<Answer>
}

export interface ConformanceClient {
  /** Any method, with any params, right or wrong. Rejects where the transport breaks. */
  readonly request: (method: string, params?: object, options?: RequestOptions) => Promise<Answer>
  /** `session/ask` with `stream`. */
  readonly stream: (params: object, options?: RequestOptions) => Streamed
  readonly subscribe: (params: object) => Promise<Followed | Failure>
  /** Goes away without a word; resolves once the other side cannot but know. */
  readonly disconnect: () => Promise<void>
}

/** Whose token a client comes with. */
export type Identity = "admin" | "reader" | "nobody" | "stranger"

/** A runtime that is served by one transport. */
export interface World {
  /** One more client. */
  readonly connect: (as?: Identity) => Promise<ConformanceClient>
  /** Ends everything that it started. */
  readonly close: () => Promise<void>
}

/** What some transports cannot do by their nature; a method's name stands for that method. */
export type Ability =
  | "messages"
  | "clients"
  | "returning clients"
  | "giving up"
  | "entries of a turn as they come"
  | "tokens"
  | "unknown methods"
  | "params of every method"
  | "encodings"
  | "a configuration file"

export interface Transport {
  readonly name: string
  /** Why it cannot, in a sentence; by ability or method. */
  readonly lacks: Readonly<Record<string, string>>
  readonly open: (directory: string) => Promise<World>
}

const patienceMs = 30_000

/** Waits for a condition; says what it waited for when the time is up. */
export const eventually = async (what: string, holds: () => boolean | Promise<boolean>): Promise<void> => {
  const until = Date.now() + patienceMs
  while (!(await holds())) {
    if (Date.now() > until) throw new Error(`not within ${patienceMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const isFailure = (value: object): value is Failure => "tag" in value && "code" in value
