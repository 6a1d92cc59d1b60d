/** A command as data: what to run, where, with which environment, and how to end it. */
import type { ShutdownSpec, SessionSpec } from "../domain/SessionSpec.ts"

/** What the whole tree of a command may take; left out: no limit. Over it the tree is ended. */
export interface ResourceLimits {
  readonly memoryBytes?: number
  readonly processes?: number
}

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
  /** Held at every level but `group`. */
  readonly limits?: ResourceLimits
}
