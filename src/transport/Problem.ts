/**
 * Failures as `application/problem+json` (RFC 9457): the same tag, code and data that JSON-RPC gives, with the status of
 * `ErrorCodes`. It words nothing of its own but what only HTTP can say. Called by the HTTP server.
 */
import * as Cause from "effect/Cause"
import type { RuntimeError } from "../domain/Errors.ts"
import * as ErrorCodes from "./ErrorCodes.ts"
import { STATUS_CODES } from "node:http"

export interface Problem {
  readonly status: number
  /** Besides the content type. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body: ProblemBody
}

export interface ProblemBody {
  readonly type: "about:blank"
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly tag: string
  /** The code that JSON-RPC has for it. */
  readonly code: number
  /** `error.data` of JSON-RPC: the tag and the identity fields. */
  readonly data: Readonly<Record<string, unknown>>
}

export const contentType = "application/problem+json"

/** What only HTTP can meet; `data` gets the tag. */
export const problem = (
  status: number,
  tag: string,
  detail: string,
  options: {
    readonly code?: number
    readonly data?: Readonly<Record<string, unknown>>
    readonly headers?: Readonly<Record<string, string>>
  } = {},
): Problem => ({
  status,
  ...(options.headers === undefined ? {} : { headers: options.headers }),
  body: {
    type: "about:blank",
    title: STATUS_CODES[status] ?? tag,
    status,
    detail,
    tag,
    code: options.code ?? ErrorCodes.invalidRequest,
    data: { tag, ...options.data },
  },
})

const headersOf = (error: RuntimeError): Readonly<Record<string, string>> | undefined => {
  switch (error._tag) {
    case "Unauthorized":
      return { "WWW-Authenticate": "Bearer" }
    case "LimitReached":
    case "MailboxFull":
    case "Draining":
      return { "Retry-After": "1" }
    default:
      return undefined
  }
}

export const ofError = (error: RuntimeError): Problem => {
  const headers = headersOf(error)
  const data = ErrorCodes.errorData(error)
  return problem(ErrorCodes.httpStatusOf(error), error._tag, error.message, {
    code: ErrorCodes.codeOf(error),
    data,
    ...(headers === undefined ? {} : { headers }),
  })
}

export const internal: Problem = problem(
  500,
  "InternalError",
  "a defect of the runtime; its log on stderr has the cause",
  { code: ErrorCodes.internalError },
)

/** What was expected to fail; undefined for a defect, which the caller logs. */
export const ofCause = (cause: Cause.Cause<unknown>): Problem | undefined => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Fail" && ErrorCodes.isRuntimeError(reason.error)) return ofError(reason.error)
  }
  return Cause.hasInterruptsOnly(cause)
    ? problem(503, "RequestCancelled", "the request was given up", { code: ErrorCodes.requestCancelled })
    : undefined
}
