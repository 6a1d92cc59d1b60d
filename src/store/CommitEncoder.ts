/**
 * Prepares commits. What hardly changes of a session (spec, deaths, the indexed columns) is only written when it is
 * another than last time; a bounded memory of the sessions that were written last tells.
 */
import type { SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { Commit } from "../domain/SessionStore.ts"
import { prepareCommit, type PreparedCommit } from "./PreparedCommit.ts"

type Described = Pick<Session, "spec" | "deaths" | "name" | "supervisor" | "createdAt">

const maxRemembered = 65_536

export class CommitEncoder {
  /** What the log or the tables hold of a session. */
  readonly #described = new Map<SessionId, Described>()

  encode(commit: Commit, session: Session): PreparedCommit {
    const { id, spec, deaths, name, supervisor, createdAt } = session
    const before = this.#described.get(id)
    const known =
      before !== undefined &&
      before.spec === spec &&
      before.deaths === deaths &&
      before.name === name &&
      before.supervisor === supervisor &&
      before.createdAt === createdAt
    const prepared = prepareCommit(commit, session, !known)
    if (!known) {
      this.#described.set(id, { spec, deaths, name, supervisor, createdAt })
      if (this.#described.size > maxRemembered) this.#described.delete(this.#described.keys().next().value!)
    }
    return prepared
  }

  forget(session: SessionId): void {
    this.#described.delete(session)
  }

  forgetAll(): void {
    this.#described.clear()
  }
}
