/**
 * The environment of a child, worked out: what is passed on from the runtime's own, what the spec adds or
 * removes, the session's own temporary directory, and the markers by which a later runtime recognises what an earlier one
 * left behind. Pure.
 */

/** What the runtime itself sets. */
export interface OwnEnvironment {
  readonly CRECHE_RUNTIME: string
  readonly CRECHE_SESSION: string
  /** Left out: what the session inherits. */
  readonly TMPDIR?: string
}

/**
 * `inherit`: names to pass on, or "all"; `added`: a value sets a variable, null removes one. Later wins: what is
 * inherited, the runtime's own TMPDIR, what is added, the markers. They always win: they are how strays are found.
 */
export const childEnvironment = (
  inherit: "all" | ReadonlyArray<string>,
  added: Readonly<Record<string, string | null>>,
  parent: Readonly<Record<string, string | undefined>>,
  own: OwnEnvironment,
): Record<string, string> => {
  const env: Record<string, string> = Object.create(null)
  for (const name of inherit === "all" ? Object.keys(parent) : inherit) {
    const value = Object.hasOwn(parent, name) ? parent[name] : undefined
    if (value !== undefined) env[name] = value
  }
  if (own.TMPDIR !== undefined) env["TMPDIR"] = own.TMPDIR
  for (const name of Object.keys(added)) {
    const value = added[name]
    if (value === null || value === undefined) delete env[name]
    else env[name] = value
  }
  env["CRECHE_RUNTIME"] = own.CRECHE_RUNTIME
  env["CRECHE_SESSION"] = own.CRECHE_SESSION
  return env
}
