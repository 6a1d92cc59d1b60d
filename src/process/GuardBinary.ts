/**
 * Finds the guard's binary: CRECHE_GUARD, then the one compiled at set-up, then a prebuilt one. It compiles
 * nothing; `scripts/guard.mjs` does.
 */
import { accessSync, constants } from "node:fs"
import { fileURLToPath } from "node:url"

export type GuardBinary =
  | { readonly found: true; readonly path: string }
  | { readonly found: false; readonly detail: string }

const native = new URL("../../native/", import.meta.url)

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export const findGuardBinary = (env: Readonly<Record<string, string | undefined>> = process.env): GuardBinary => {
  const named = env["CRECHE_GUARD"]
  if (named !== undefined && named !== "") {
    return isExecutable(named)
      ? { found: true, path: named }
      : { found: false, detail: `CRECHE_GUARD names ${named}, which is no executable file` }
  }
  for (const place of ["build/guard", `prebuilt/${process.platform}-${process.arch}/guard`]) {
    const path = fileURLToPath(new URL(place, native))
    if (isExecutable(path)) return { found: true, path }
  }
  return { found: false, detail: "the guard was not built: install a C compiler (cc) and run npm ci or npm run build" }
}
