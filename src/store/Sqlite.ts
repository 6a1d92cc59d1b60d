/**
 * `node:sqlite`, taken in without the warning that Node 22 prints on standard error when it is: that one
 * warning alone is held back, and only during the import.
 */
import type { DatabaseSync as Database } from "node:sqlite"

const load = (): typeof import("node:sqlite") => {
  const original = Object.getOwnPropertyDescriptor(process, "emitWarning")!
  const emitWarning = process.emitWarning.bind(process)
  // A static import would be linked, and would have warned, before any line of ours runs.
  process.emitWarning = ((warning: string | Error, ...rest: Array<never>) => {
    if (!String(warning).startsWith("SQLite is an experimental feature")) emitWarning(warning, ...rest)
  }) as typeof process.emitWarning
  try {
    return process.getBuiltinModule("node:sqlite")
  } finally {
    Object.defineProperty(process, "emitWarning", original)
  }
}

export const { DatabaseSync } = load()
export type DatabaseSync = Database
export type { SQLInputValue, StatementSync } from "node:sqlite"
