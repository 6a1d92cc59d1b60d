/**
 * The guard in Perl (`native/guard.pl`), for machines that have neither a C compiler nor a guard that was built: the same promises, a
 * process of some 3 MB for each command, and a slower start. Finds it, and finds out whether it works; starts nothing that stays.
 */
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { protocolVersion } from "./GuardProtocol.ts"

export type PerlGuard =
  | { readonly found: true; readonly perl: string; readonly script: string }
  | { readonly found: false; readonly detail: string }

const script = fileURLToPath(new URL("../../native/guard.pl", import.meta.url))

const missing = (detail: string): PerlGuard => ({ found: false, detail })

/** `CRECHE_PERL` names another perl. Runs it once, for its version: some 10 ms. */
export const findPerlGuard = (env: Readonly<Record<string, string | undefined>> = process.env): PerlGuard => {
  if (process.platform !== "linux") return missing("the Perl form works on Linux alone")
  if (!existsSync(script)) return missing(`the Perl form ${script} is missing`)
  const perl = env["CRECHE_PERL"] || "perl"
  // What the environment has for other Perl programs is not for this one.
  const { PATH = "" } = env
  const { error, status, stdout, stderr } = spawnSync(perl, [script, "--version"], {
    env: { PATH },
    encoding: "utf8",
    timeout: 5_000,
  })
  if (error !== undefined)
    return missing((error as NodeJS.ErrnoException).code === "ENOENT" ? `there is no ${perl}` : error.message)
  if (status !== 0) return missing(stderr.trim() || `${perl} exits ${status}`)
  const [, protocol, itself = perl] = /protocol (\d+) \(perl (.+)\)$/m.exec(stdout) ?? []
  if (Number(protocol) !== protocolVersion)
    return missing(`the Perl form ${script} speaks protocol ${protocol}, not ${protocolVersion}`)
  // By its whole path: whoever is started with it may have another PATH.
  return { found: true, perl: itself, script }
}
