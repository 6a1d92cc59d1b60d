/**
 * What the client's effects fail with: one error for each tag, so that `Effect.catchTag("SessionNotFound", …)` has the fields
 * that identify what it is about. Made from the promise client's `CrecheError`. Used by `EffectClient`.
 */
import * as Data from "effect/Data"
import type { ErrorTag, Identity } from "../transport/ErrorCodes.ts"
import { CrecheError } from "./CrecheError.ts"

/** Failures of the way, not of the runtime. */
interface OnTheWay {
  readonly NoRuntime: {
    readonly errno: string
    readonly socket?: string
    readonly url?: string
    readonly command?: string
  }
  readonly OtherRuntime: { readonly socket: string; readonly dataDirectory: string }
  /** `sent`: whether it may have been done; undefined where the whole connection is over. */
  readonly ConnectionLost: { readonly method?: string; readonly sent?: boolean; readonly withinMs?: number }
  readonly MessageTooLarge: { readonly limitBytes: number; readonly bytes?: number }
  /** The runtime gave the request up. An interrupted effect is interrupted, and does not fail so. */
  readonly RequestCancelled: object
  /** A bug of the runtime; its log has the cause. */
  readonly InternalError: object
  /** Any other answer: a runtime of another version, or no runtime at all. */
  readonly Unexpected: { readonly data: CrecheError["data"] }
}

export type FailureTag = ErrorTag | keyof OnTheWay

type Fields<Tag extends FailureTag> = Tag extends ErrorTag
  ? Identity<Tag>
  : Tag extends keyof OnTheWay
    ? OnTheWay[Tag]
    : never

export type FailureOf<Tag extends FailureTag> = Tag extends FailureTag
  ? Error & { readonly _tag: Tag; readonly code: number } & Fields<Tag>
  : never

export type CrecheFailure = FailureOf<FailureTag>

const known: { readonly [Tag in FailureTag]: true } = {
  InvalidParams: true,
  SessionNotFound: true,
  TurnNotFound: true,
  TemplateNotFound: true,
  SupervisorNotFound: true,
  RequestNotFound: true,
  SubscriptionNotFound: true,
  SessionAlreadyExists: true,
  SupervisorAlreadyExists: true,
  MailboxFull: true,
  SessionNotRunning: true,
  SpawnFailed: true,
  NotReady: true,
  RestartIntensityReached: true,
  Unauthorized: true,
  Forbidden: true,
  Draining: true,
  LimitReached: true,
  Unsupported: true,
  StoreUnavailable: true,
  NoRuntime: true,
  OtherRuntime: true,
  ConnectionLost: true,
  MessageTooLarge: true,
  RequestCancelled: true,
  InternalError: true,
  Unexpected: true,
}

class Failure extends Data.Error<{ readonly _tag: string; readonly code: number; readonly message: string }> {}

/** A bug, of the caller or of the client, is none of them: it is thrown on. */
export const failureOf = (error: unknown): CrecheFailure => {
  if (!(error instanceof CrecheError)) throw error
  const { code, message, data } = error
  const { tag, ...fields } = data
  return new Failure(
    Object.hasOwn(known, tag)
      ? { ...fields, _tag: tag, code, message }
      : { _tag: "Unexpected", code, message, ...{ data } },
  ) as unknown as CrecheFailure
}
