/**
 * The code, the HTTP status and the identity fields of every expected failure: one table, exhaustive by type
 * over `domain/Errors`. Also the codes that JSON-RPC itself and cancelling own. It words nothing: messages
 * are the errors' own. Used by the dispatcher and, for its statuses, by HTTP.
 */
import type { RuntimeError } from "../domain/Errors.ts"
import { wireExit } from "./Wire.ts"

export const parseError = -32700
export const invalidRequest = -32600
export const methodNotFound = -32601
export const invalidParams = -32602
export const internalError = -32603
/** The answer of a request that `$/cancelRequest` ended. */
export const requestCancelled = -32800

export type ErrorTag = RuntimeError["_tag"]

interface ErrorCode<E> {
  readonly code: number
  readonly http: number
  /** What the error is about, for `error.data`; never an environment value or a token. */
  readonly identity: (error: E) => Readonly<Record<string, unknown>>
}

export const errorCodes = {
  InvalidParams: { code: invalidParams, http: 400, identity: ({ issues }) => ({ issues }) },
  SessionNotFound: { code: -32001, http: 404, identity: ({ session }) => ({ session }) },
  TurnNotFound: { code: -32001, http: 404, identity: ({ turn }) => ({ turn }) },
  TemplateNotFound: { code: -32001, http: 404, identity: ({ template }) => ({ template }) },
  SupervisorNotFound: { code: -32001, http: 404, identity: ({ supervisor }) => ({ supervisor }) },
  RequestNotFound: { code: -32001, http: 404, identity: ({ session, request }) => ({ session, request }) },
  SubscriptionNotFound: { code: -32001, http: 404, identity: ({ subscription }) => ({ subscription }) },
  SessionAlreadyExists: { code: -32002, http: 409, identity: ({ session, field }) => ({ session, field }) },
  SupervisorAlreadyExists: {
    code: -32002,
    http: 409,
    identity: ({ supervisor, strategy, maxRestarts, withinMs }) => ({ supervisor, strategy, maxRestarts, withinMs }),
  },
  MailboxFull: { code: -32003, http: 429, identity: ({ session, capacity }) => ({ session, capacity }) },
  SessionNotRunning: {
    code: -32004,
    http: 409,
    identity: ({ session, status, exit }) => ({ session, status, exit: wireExit(exit) }),
  },
  SpawnFailed: {
    code: -32005,
    http: 422,
    identity: ({ command, field, errno, detail }) => ({ command, field, errno, detail }),
  },
  NotReady: {
    code: -32006,
    http: 504,
    identity: ({ session, detail, exit, stderrTail }) => ({ session, detail, exit: wireExit(exit), stderrTail }),
  },
  RestartIntensityReached: {
    code: -32007,
    http: 503,
    identity: ({ session, supervisor, maxRestarts, withinMs }) => ({
      session,
      supervisor: supervisor ?? null,
      maxRestarts,
      withinMs,
    }),
  },
  Unauthorized: { code: -32008, http: 401, identity: () => ({}) },
  Forbidden: { code: -32009, http: 403, identity: () => ({}) },
  Draining: { code: -32010, http: 503, identity: () => ({}) },
  LimitReached: { code: -32011, http: 429, identity: ({ limit, value }) => ({ limit, value }) },
  Unsupported: { code: -32012, http: 501, identity: ({ what }) => ({ what }) },
  StoreUnavailable: { code: -32013, http: 503, identity: () => ({}) },
} as const satisfies { readonly [Tag in ErrorTag]: ErrorCode<Extract<RuntimeError, { readonly _tag: Tag }>> }

/** `error.data` of each tag, as clients get it. */
export type Identity<Tag extends ErrorTag> = ReturnType<(typeof errorCodes)[Tag]["identity"]>

const entryOf = (error: RuntimeError): ErrorCode<RuntimeError> | undefined =>
  Object.hasOwn(errorCodes, error._tag) ? (errorCodes[error._tag] as ErrorCode<RuntimeError>) : undefined

/** Whether a value is one of the expected failures; anything else that fails is a defect. */
export const isRuntimeError = (value: unknown): value is RuntimeError =>
  typeof value === "object" && value !== null && "_tag" in value && entryOf(value as RuntimeError) !== undefined

export const codeOf = (error: RuntimeError): number => errorCodes[error._tag].code

export const httpStatusOf = (error: RuntimeError): number => errorCodes[error._tag].http

/** `error.data` on the wire: the tag and the identity fields. */
export const errorData = (error: RuntimeError): { readonly tag: ErrorTag; readonly [field: string]: unknown } => ({
  tag: error._tag,
  ...(errorCodes[error._tag] as ErrorCode<RuntimeError>).identity(error),
})
