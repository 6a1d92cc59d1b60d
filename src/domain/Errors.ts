/**
 * The expected failures, each named for its condition and carrying the identity of what it speaks of.
 * Messages never hold values of environment variables or tokens. Codes and HTTP statuses: `transport/ErrorCodes`.
 */
import * as Data from "effect/Data"
import { describeExit, type ExitReason } from "./ExitReason.ts"

/** A request that does not fit its contract; `issues` name each field and what is wrong with it. */
export class InvalidParams extends Data.TaggedError("InvalidParams")<{
  readonly issues: ReadonlyArray<{ readonly path: string; readonly message: string }>
}> {
  override get message() {
    return this.issues
      .map((issue) => (issue.path === "" ? issue.message : `${issue.path}: ${issue.message}`))
      .join("; ")
  }
}

export class SessionNotFound extends Data.TaggedError("SessionNotFound")<{ readonly session: string }> {
  override get message() {
    return `no session is called ${JSON.stringify(this.session)}; session/list shows those there are`
  }
}

export class TurnNotFound extends Data.TaggedError("TurnNotFound")<{
  /** The id that was asked for; null where a session's running turn was meant and none runs. */
  readonly turn: string | null
  readonly session?: string
}> {
  override get message() {
    const where = this.session === undefined ? "" : ` in session ${this.session}`
    return this.turn === null ? `no turn is running${where}` : `no turn has the id ${JSON.stringify(this.turn)}${where}`
  }
}

export class TemplateNotFound extends Data.TaggedError("TemplateNotFound")<{ readonly template: string }> {
  override get message() {
    return `no template is called ${JSON.stringify(this.template)}; template/list shows those there are`
  }
}

export class SupervisorNotFound extends Data.TaggedError("SupervisorNotFound")<{ readonly supervisor: string }> {
  override get message() {
    return `no supervisor has the path ${JSON.stringify(this.supervisor)}; "root" is always there`
  }
}

export class RequestNotFound extends Data.TaggedError("RequestNotFound")<{
  readonly session: string
  readonly request: string
}> {
  override get message() {
    return `session ${this.session} waits for no answer to the request ${JSON.stringify(this.request)}`
  }
}

export class SubscriptionNotFound extends Data.TaggedError("SubscriptionNotFound")<{ readonly subscription: string }> {
  override get message() {
    return `this connection has no subscription ${JSON.stringify(this.subscription)}`
  }
}

export class SessionAlreadyExists extends Data.TaggedError("SessionAlreadyExists")<{
  readonly session: string
  readonly field: "name" | "task" | "protocol.resume"
}> {
  override get message() {
    if (this.field === "protocol.resume") {
      return `session ${JSON.stringify(this.session)} goes on with this conversation already, and two would undo each other's work; ask that one, or fork it`
    }
    return `a session with this ${this.field} exists already: ${JSON.stringify(this.session)}; choose another ${this.field}, or pass ifExists: "return"`
  }
}

export class SupervisorAlreadyExists extends Data.TaggedError("SupervisorAlreadyExists")<{
  readonly supervisor: string
  /** The settings that it has. */
  readonly strategy: string
  readonly maxRestarts: number | null
  readonly withinMs: number | null
}> {
  override get message() {
    const limit =
      this.maxRestarts === null ? "no limit of its own" : `a limit of ${this.maxRestarts} within ${this.withinMs} ms`
    return `supervisor ${this.supervisor} is there already, as ${this.strategy} with ${limit}; give the same settings, or supervisor/stop it first`
  }
}

export class MailboxFull extends Data.TaggedError("MailboxFull")<{
  readonly session: string
  readonly capacity: number
}> {
  override get message() {
    return `the mailbox of session ${this.session} holds ${this.capacity} turns already; ask again when some have ended`
  }
}

export class SessionNotRunning extends Data.TaggedError("SessionNotRunning")<{
  readonly session: string
  readonly status: string
  readonly exit: ExitReason | null
}> {
  override get message() {
    const why = this.exit === null ? "" : ` (${describeExit(this.exit)})`
    return `session ${this.session} is ${this.status}${why}; session/restart starts it again`
  }
}

/** The operating system's name for what went wrong at a spawn, or `ELEVEL`: the containment asked for is not to be had. */
export type SpawnErrno =
  | "ENOENT"
  | "EACCES"
  | "ENOTDIR"
  | "ENOEXEC"
  | "E2BIG"
  | "EMFILE"
  | "EAGAIN"
  | "ENOMEM"
  | "EPERM"
  | "ELOOP"
  | "ENAMETOOLONG"
  | "ETXTBSY"
  | "ELEVEL"
  | (string & {})

export class SpawnFailed extends Data.TaggedError("SpawnFailed")<{
  readonly command: string
  /** The field of the spec that is at fault. */
  readonly field: "command" | "cwd" | "args" | "env" | "containment" | "limits"
  readonly errno: SpawnErrno
  /** A sentence that says what is wrong and what to do about it. */
  readonly detail: string
}> {
  override get message() {
    return `${this.field}: ${this.detail} (${this.errno})`
  }
}

export class NotReady extends Data.TaggedError("NotReady")<{
  readonly session: string
  readonly detail: string
  readonly exit: ExitReason | null
  readonly stderrTail: string
}> {
  override get message() {
    return `session ${this.session} did not become ready: ${this.detail}`
  }
}

export class RestartIntensityReached extends Data.TaggedError("RestartIntensityReached")<{
  /** null where nobody's session is meant, but the supervisor itself. */
  readonly session: string | null
  /** The supervisor whose limit was reached; left out: it was the session's own. */
  readonly supervisor?: string
  readonly maxRestarts: number
  readonly withinMs: number
}> {
  override get message() {
    if (this.supervisor !== undefined) {
      const whose = this.session === null ? "" : `, which owns session ${this.session},`
      return `supervisor ${this.supervisor}${whose} has given up: more than ${this.maxRestarts} restarts within ${this.withinMs} ms; supervisor/start starts it anew`
    }
    return `session ${this.session} was restarted more than ${this.maxRestarts} times within ${this.withinMs} ms; session/restart starts it again`
  }
}

export class Unauthorized extends Data.TaggedError("Unauthorized")<{ readonly detail: string }> {
  override get message() {
    return this.detail
  }
}

export class Forbidden extends Data.TaggedError("Forbidden")<{ readonly detail: string }> {
  override get message() {
    return this.detail
  }
}

export class Draining extends Data.TaggedError("Draining")<{ readonly detail: string }> {
  override get message() {
    return this.detail
  }
}

export class LimitReached extends Data.TaggedError("LimitReached")<{ readonly limit: string; readonly value: number }> {
  override get message() {
    return `the limit ${this.limit} of ${this.value} is reached`
  }
}

export class Unsupported extends Data.TaggedError("Unsupported")<{ readonly what: string; readonly detail: string }> {
  override get message() {
    return `${this.what}: ${this.detail}`
  }
}

export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<{ readonly detail: string }> {
  override get message() {
    return `the store does not answer: ${this.detail}`
  }
}

/** Every expected failure that a client can meet. */
export type RuntimeError =
  | InvalidParams
  | SessionNotFound
  | TurnNotFound
  | TemplateNotFound
  | SupervisorNotFound
  | RequestNotFound
  | SubscriptionNotFound
  | SessionAlreadyExists
  | SupervisorAlreadyExists
  | MailboxFull
  | SessionNotRunning
  | SpawnFailed
  | NotReady
  | RestartIntensityReached
  | Unauthorized
  | Forbidden
  | Draining
  | LimitReached
  | Unsupported
  | StoreUnavailable
