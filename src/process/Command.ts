/** A command as data: what to run, where, with which environment, and how to end it. */
import type { ShutdownSpec, SessionSpec } from "../domain/SessionSpec.ts"

export interface Command {
  /** The session's id: in the ledger and in the child's environment as CRECHE_SESSION. */
  readonly session: string
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** An absolute path; must exist. */
  readonly cwd: string
  /** The whole environment of the child. */
  readonly env: Readonly<Record<string, string>>
  readonly shutdown: ShutdownSpec
  readonly containment: SessionSpec["containment"]
}
