/** `creche token`: creates, lists and revokes the bearer tokens of HTTP, in their file. Needs no running runtime. */
import { join, resolve } from "node:path"
import { resolvePaths } from "../../client/Paths.ts"
import { supervisorPathPattern } from "../../domain/SupervisorStore.ts"
import { changeTokens, makeToken, readTokens, type TokenRecord } from "../../transport/Tokens.ts"
import type { Invocation } from "../Commands.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import type { ExitCode, Io } from "../Io.ts"
import { pairs } from "../Pairs.ts"
import type { Run } from "../Run.ts"
import { visibleLine } from "../Text.ts"

export const run: Run<"token"> = async (call, io) => {
  const given = call.flags["token-file"]
  const file =
    given === undefined
      ? join(resolvePaths(call.shared, io.env, io.cwd).dataDirectory, "tokens.json")
      : resolve(io.cwd, given)
  const { action, name } = call.args
  if (action === "list") return list(call, io, file)
  if (name === undefined || name === "") throw wrongUsage(`token ${action} wants a name`)
  return action === "create" ? create(call, io, file, name) : revoke(call, io, file, name)
}

/** A hundred years. */
const mostMs = 3_153_600_000_000

const create = async (call: Invocation<"token">, io: Io, file: string, name: string): Promise<ExitCode> => {
  const { scope, supervisor, tag, "expires-in-ms": expiresInMs, "per-second": perSecond } = call.flags
  const tags = pairs("tag", tag)
  if (expiresInMs !== undefined && (expiresInMs < 1 || expiresInMs > mostMs)) {
    throw wrongUsage(`--expires-in-ms wants 1 to ${mostMs}`)
  }
  if (supervisor !== undefined && supervisor !== "root" && !supervisorPathPattern.test(supervisor)) {
    throw wrongUsage(`--supervisor wants a path as root/tenant-a; ${JSON.stringify(supervisor)} is none`)
  }
  if (perSecond === 0) throw wrongUsage("--per-second wants at least 1")
  const confinement = {
    ...(supervisor === undefined ? {} : { supervisor }),
    ...(tags === undefined ? {} : { tags }),
  }
  const { token, record } = makeToken(
    {
      name,
      scopes: scope.length === 0 ? ["read"] : [...new Set(scope)],
      ...(Object.keys(confinement).length === 0 ? {} : { confinement }),
      ...(expiresInMs === undefined ? {} : { expiresInMs }),
      ...(perSecond === undefined ? {} : { perSecond }),
    },
    Date.now(),
  )
  changeTokens(file, (tokens) => {
    // Who revokes by name must know which one goes.
    if (tokens.some((each) => each.name === name)) {
      throw new CommandFailure(`there is a token named ${name} already; revoke it, or take another name`, { name })
    }
    return [...tokens, record]
  })
  await io.stdout(call.shared.json ? `${JSON.stringify({ ...shown(record), token })}\n` : `${token}\n`)
  if (!call.shared.json) io.stderr(`keep it: it is shown this once; ${file} has only its hash\n`)
  return 0
}

const list = async (call: Invocation<"token">, io: Io, file: string): Promise<ExitCode> => {
  for (const record of readTokens(file)) {
    await io.stdout(call.shared.json ? `${JSON.stringify(shown(record))}\n` : `${line(record)}\n`)
  }
  return 0
}

const revoke = async (call: Invocation<"token">, io: Io, file: string, which: string): Promise<ExitCode> => {
  let gone: ReadonlyArray<TokenRecord> = []
  changeTokens(file, (tokens) => {
    gone = tokens.filter(({ id, name }) => id === which || name === which)
    if (gone.length === 0) throw new CommandFailure(`no token has this id or name; creche token list shows them`)
    return tokens.filter((each) => !gone.includes(each))
  })
  for (const record of gone) {
    await io.stdout(
      call.shared.json
        ? `${JSON.stringify({ id: record.id, name: record.name, revoked: true })}\n`
        : `${visibleLine(record.name)} (${record.id}) is revoked\n`,
    )
  }
  return 0
}

const shown = (record: TokenRecord): Omit<TokenRecord, "hash"> => {
  const { hash: _, ...rest } = record
  return rest
}

const line = ({ id, name, scopes, confinement, createdAt, expiresAt }: TokenRecord): string => {
  const tags = Object.entries(confinement?.tags ?? {}).map(([tag, value]) => `${tag}=${value}`)
  const within = [...(confinement?.supervisor === undefined ? [] : [confinement.supervisor]), ...tags]
  return visibleLine(
    [
      id,
      name,
      scopes.join(","),
      within.length === 0 ? "everything" : within.join(" "),
      `created ${createdAt}`,
      ...(expiresAt === undefined ? [] : [`until ${expiresAt}`]),
    ].join("  "),
  )
}
