/**
 * A data directory for a runtime that leaves nothing behind: private, made anew, removed at the end, also when the program throws,
 * calls `process.exit`, or gets a signal that it does not handle. What one that was killed left is found by its name when
 * the next is made: first the processes in its ledgers are ended, then it goes.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync, type Stats } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { atExit } from "./AtExit.ts"
import { readLedger } from "./LedgerFile.ts"
import { ownerLives, sweepLedgers } from "./LedgerSweep.ts"
import { pidNamespace } from "./ProcessIdentity.ts"
import { ledgerPrefix } from "./ProcessLedger.ts"

const prefix = "creche-runtime-"

/** One without a ledger that is younger than this, in ms, may be about to get one. */
const unfinishedMs = 60_000

const remove = (directory: string): void => rmSync(directory, { recursive: true, force: true })

/** Somebody else's, and whatever merely has such a name, is left alone. */
const isOurs = (stat: Stats): boolean =>
  stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0

/** Whether whoever made it is gone, as far as can be told. Of a runtime in another PID namespace nothing can be told. */
const isAbandoned = (directory: string, stat: Stats): boolean => {
  const ledgers = readdirSync(directory).filter((name) => name.startsWith(ledgerPrefix))
  if (ledgers.length === 0) return Date.now() - stat.mtimeMs > unfinishedMs
  return ledgers.every((name) => {
    const owner = readLedger(join(directory, name))?.owner
    return owner !== undefined && owner.namespace === pidNamespace() && !ownerLives(owner)
  })
}

/** Ends and removes what killed runtimes of this user left in the temporary directory. Never fails: what it may not touch stays. */
export const sweepTemporaryDirectories = async (within = tmpdir()): Promise<void> => {
  for (const name of readdirSync(within)) {
    if (!name.startsWith(prefix)) continue
    const directory = join(within, name)
    try {
      const stat = lstatSync(directory)
      if (!isOurs(stat) || !isAbandoned(directory, stat)) continue
      const { survivors, skipped } = await sweepLedgers(directory, "")
      // The next one looks again.
      if (survivors.length === 0 && skipped.length === 0) remove(directory)
    } catch {
      // Another sweep has it, or it is not to be read.
    }
  }
}

export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(async () => {
    await sweepTemporaryDirectories()
    const directory = mkdtempSync(join(tmpdir(), prefix))
    return { directory, forget: atExit(() => remove(directory)) }
  }),
  ({ directory, forget }) =>
    Effect.sync(() => {
      forget()
      remove(directory)
    }),
).pipe(Effect.map(({ directory }) => directory))
