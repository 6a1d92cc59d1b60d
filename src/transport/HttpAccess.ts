/**
 * Who may call what: from the bearer token of a request to the table of methods that its holder has, with its scopes, its
 * confinement and its rate. Logs what was refused, without the secret. Called by the HTTP server and the WebSocket.
 */
import * as Effect from "effect/Effect"
import { Forbidden, LimitReached, Unauthorized } from "../domain/Errors.ts"
import { CurrentMeters } from "../supervisor/Meters.ts"
import { Runtime } from "../supervisor/Runtime.ts"
import type { Method as ContractMethod, notOffered } from "./Contract.ts"
import type { Method, Methods } from "./Dispatcher.ts"
import { type HandlerOptions, makeMethods } from "./Handlers.ts"
import { type Bucket, full, type Rate, take } from "./HttpRate.ts"
import { confined } from "./TokensConfinement.ts"
import type { TokenFile, TokenRecord, TokenScope } from "./Tokens.ts"

type AnyMethod = ContractMethod | (typeof notOffered)[number]

interface Needs {
  /** null: any token will do. */
  readonly scope: TokenScope | null
  /** About the runtime as a whole, so not for a confined token. */
  readonly whole?: true
}

/** What each method needs; `admin` has all scopes. */
export const needs: { readonly [M in AnyMethod]: Needs } = {
  initialize: { scope: null },
  "runtime/info": { scope: "read" },
  "runtime/health": { scope: "read" },
  "runtime/stats": { scope: "read", whole: true },
  "runtime/metrics": { scope: "read", whole: true },
  "runtime/tree": { scope: "read", whole: true },
  "runtime/shutdown": { scope: "admin", whole: true },
  "session/start": { scope: "admin" },
  "session/get": { scope: "read" },
  "session/list": { scope: "read" },
  "session/ask": { scope: "prompt" },
  "session/tell": { scope: "prompt" },
  "turn/get": { scope: "read" },
  "turn/wait": { scope: "read" },
  "session/cancel": { scope: "prompt" },
  "session/answer": { scope: "approve" },
  "session/authenticate": { scope: "approve" },
  "session/write": { scope: "admin" },
  "session/signal": { scope: "admin" },
  "session/suspend": { scope: "admin" },
  "session/resume": { scope: "admin" },
  "session/restart": { scope: "admin" },
  "session/stop": { scope: "admin" },
  "session/remove": { scope: "admin" },
  "session/transcript": { scope: "read" },
  "session/history": { scope: "read" },
  "session/search": { scope: "read" },
  "session/extend": { scope: "admin" },
  "session/fork": { scope: "admin" },
  "session/subscribe": { scope: "read" },
  "session/unsubscribe": { scope: "read" },
  "session/resize": { scope: "admin" },
  "session/screen": { scope: "read" },
  "template/list": { scope: "read" },
  "template/get": { scope: "read" },
  "template/put": { scope: "admin", whole: true },
  "template/remove": { scope: "admin", whole: true },
  "supervisor/start": { scope: "admin", whole: true },
  "supervisor/stop": { scope: "admin", whole: true },
  "pool/start": { scope: "admin", whole: true },
  "pool/list": { scope: "read", whole: true },
  "pool/stop": { scope: "admin", whole: true },
}

/** One that was let in: the same object as long as its token stays the same. */
export interface Caller {
  /** The token's id; null where no token is asked for. */
  readonly id: string | null
  readonly methods: Methods
  /** Whether its token still counts, by the last `look`. */
  readonly isCurrent: () => boolean
  /** One more request; undefined where there is room for it. */
  readonly charge: () => LimitReached | undefined
}

export interface Access {
  /** The one method for whom has not said yet who it is, on a connection that can. */
  readonly initialize: Method
  /** Sees what was revoked. */
  readonly look: () => void
  /** Who sends this `Authorization` header. `from` is the peer's address, for the log. */
  readonly authenticate: (authorization: string | undefined, from: string) => Caller | Unauthorized
  /** Counts and logs a refusal for its `Host` or `Origin`; `why` holds nothing that the peer sent. */
  readonly refused: (why: string, from: string) => void
}

export interface AccessOptions extends HandlerOptions {
  /** null: everybody may do everything. */
  readonly tokens: TokenFile | null
  /** Default: 200 requests a second, 400 at once. */
  readonly rate?: Rate
  readonly now?: () => number
}

const defaultRate: Rate = { perSecond: 200, burst: 400 }
/** Refusals that are logged; more are counted. */
const logRate: Rate = { perSecond: 5, burst: 20 }
/** Those whose tokens are gone are forgotten once there are so many. */
const mostKept = 1000

const permits = (record: TokenRecord, { scope, whole }: Needs): string | undefined => {
  if (scope !== null && !record.scopes.includes(scope) && !record.scopes.includes("admin")) {
    return `the token has not the scope ${scope}`
  }
  return whole === true && record.confinement !== undefined ? "the token is confined" : undefined
}

const restricted = (methods: Methods, record: TokenRecord): Methods => {
  const table = new Map<string, Method>()
  for (const [name, method] of methods) {
    const denied = permits(record, needs[name as AnyMethod])
    table.set(
      name,
      // Before its params are looked at: who may not call it learns nothing from it.
      denied === undefined
        ? method
        : {
            ...method,
            isDenied: true,
            decode: () => undefined,
            run: () => new Forbidden({ detail: `${name}: ${denied}` }),
          },
    )
  }
  return table
}

interface Known {
  readonly record: TokenRecord
  readonly caller: Caller
  bucket: Bucket
}

export const makeAccess = Effect.fnUntraced(function* (
  options: AccessOptions,
): Effect.fn.Return<Access, never, Runtime> {
  const runtime = yield* Runtime
  const services = yield* Effect.context<never>()
  const whole = yield* makeMethods(options)
  const now = options.now ?? Date.now
  const known = new Map<string, Known>()
  let logs = full(logRate, now())
  let unlogged = 0

  const { refusals } = yield* CurrentMeters

  const refused = (why: string, from: string) => {
    const room = take(logs, logRate, now())
    if (room === undefined) return void unlogged++
    logs = room
    const before = unlogged
    unlogged = 0
    const more = before === 0 ? {} : { unlogged: before }
    Effect.runForkWith(services)(Effect.logWarning("http: refused").pipe(Effect.annotateLogs({ why, from, ...more })))
  }

  const refusedOrigin = (why: string, from: string) => {
    refusals.origin++
    refused(why, from)
  }

  const { tokens } = options
  const initialize = whole.get("initialize")!
  if (tokens === null) {
    const anybody: Caller = { id: null, methods: whole, isCurrent: () => true, charge: () => undefined }
    return { initialize, look: () => {}, authenticate: () => anybody, refused: refusedOrigin }
  }

  const callerOf = (record: TokenRecord): Caller => {
    const found = known.get(record.id)
    if (found !== undefined && found.record === record) return found.caller
    if (known.size >= mostKept) {
      for (const [id, each] of known) if (!tokens.isCurrent(each.record, now())) known.delete(id)
    }
    const { confinement, perSecond } = record
    const methods =
      confinement === undefined
        ? whole
        : Effect.runSync(makeMethods(options).pipe(Effect.provideService(Runtime, confined(runtime, confinement))))
    const rate = perSecond === undefined ? (options.rate ?? defaultRate) : { perSecond, burst: perSecond * 2 }
    const caller: Caller = {
      id: record.id,
      methods: restricted(methods, record),
      isCurrent: () => tokens.isCurrent(record, now()),
      charge: () => {
        const bucket = take(entry.bucket, rate, now())
        if (bucket === undefined) {
          return new LimitReached({ limit: "requests per second of a token", value: rate.perSecond })
        }
        entry.bucket = bucket
        return undefined
      },
    }
    const entry: Known = { record, caller, bucket: found?.bucket ?? full(rate, now()) }
    known.set(record.id, entry)
    return caller
  }

  return {
    initialize,
    look: () => tokens.look(),
    refused: refusedOrigin,
    authenticate: (authorization, from) => {
      if (authorization === undefined) {
        refusals.unauthorized++
        refused("no token came", from)
        return new Unauthorized({ detail: "a token is required: Authorization: Bearer TOKEN (creche token create)" })
      }
      const [, token] = /^Bearer +([^\s]+) *$/i.exec(authorization) ?? []
      const record = token === undefined ? undefined : tokens.authenticate(token, now())
      if (record === undefined || "_tag" in record) {
        refusals.unauthorized++
        refused(record?.why ?? "the Authorization header is malformed", from)
        return new Unauthorized({ detail: "the token is not valid" })
      }
      return callerOf(record)
    },
  }
})
