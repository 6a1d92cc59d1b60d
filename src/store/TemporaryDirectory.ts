/** A data directory for a runtime that leaves nothing behind: private, made anew, removed at the end. Used by main. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "creche-"))),
  (directory) => Effect.sync(() => rmSync(directory, { recursive: true, force: true })),
)
