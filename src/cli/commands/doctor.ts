/** `creche doctor`: what this machine offers, and what to do about what is missing. */
import { spawnSync } from "node:child_process"
import { probeCgroup } from "../../process/CgroupTree.ts"
import { noSubreaper, parseProbe, reportLevels } from "../../process/ContainmentLevels.ts"
import { findGuardBinary } from "../../process/GuardBinary.ts"
import { findPerlGuard } from "../../process/PerlGuard.ts"
import type { Call } from "../Commands.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { CommandFailure } from "../Failure.ts"
import { agentClis, compiler, type Finding, nodeVersion, socketPath, writable } from "../Findings.ts"
import type { Io } from "../Io.ts"
import { resolvePaths } from "../../client/Paths.ts"
import { CrecheError } from "../../client/CrecheError.ts"
import { version } from "../../version.ts"

export const run: Run<"doctor"> = async (call, io) => {
  const paths = resolvePaths(call.shared, io.env, io.cwd)
  const guard = findGuardBinary(io.env)
  const socket = socketPath(paths.socket)
  const findings: ReadonlyArray<Finding> = [
    { what: "creche", status: "ok", detail: version },
    nodeVersion(process.version),
    ...containment(guard, io),
    compiler(io.env, !guard.found),
    writable("data", paths.dataDirectory),
    socket,
    ...(socket.status === "ok" ? [await runtime(call, io)] : []),
    ...agentClis(io.env),
  ]
  const usable = findings.every((finding) => finding.status !== "bad")
  if (call.shared.json) await io.stdout(`${JSON.stringify({ usable, findings })}\n`)
  else
    await io.stdout(
      `${findings.map(render).join("\n")}\n\n${usable ? "creche can work here" : "creche cannot work here yet"}\n`,
    )
  return usable ? 0 : 1
}

/** What `auto` gives, and the levels that have to be asked for; the guard itself tries them out. */
const containment = (guard: ReturnType<typeof findGuardBinary>, io: Io): ReadonlyArray<Finding> => {
  const what = "containment"
  const probed = guard.found ? spawnSync(guard.path, ["--probe"], { encoding: "utf8", timeout: 5_000 }) : undefined
  const works = probed?.status === 0
  const why = guard.found ? `the guard ${guard.path} does not run here` : guard.detail
  const perl = works ? undefined : findPerlGuard(io.env)
  const { level, levels } = reportLevels({
    ...(works ? parseProbe(probed.stdout) : { server: perl?.found ? "guard" : null, namespace: undefined }),
    detail: works ? noSubreaper : why,
    cgroup: probeCgroup(io.env),
    ...(perl?.found ? { perl: why } : {}),
  })
  const others = levels
    .filter((one) => one.level === "namespace" || one.level === "cgroup")
    .map((one): Finding =>
      one.available
        ? { what: one.level, status: "ok", detail: `on request: ${one.detail}` }
        : {
            what: one.level,
            status: "missing",
            detail: `not to be had: ${one.detail}`,
            remedy: `nothing, unless a session asks for it by name; docs/containment.md says what it takes`,
          },
    )
  const remedy = "build the guard: install a C compiler, then `npm rebuild` or `npm run build`"
  if (perl?.found) {
    const detail = `guard: the whole process tree, daemons included, by the slower form ${perl.script} (${why})`
    return [{ what, status: "ok", detail, remedy }, ...others]
  }
  if (!guard.found || !works) {
    const detail = `group: the process group alone is ended, not what left it by setsid (${why}; ${perl?.detail})`
    return [{ what, status: "missing", detail, remedy }, ...others]
  }
  const detail =
    level === "guard"
      ? `guard: the whole process tree, daemons included; ${guard.path}`
      : `group: the strongest level on ${process.platform}; guard ${guard.path}`
  return [{ what, status: "ok", detail }, ...others]
}

const runtime = async (call: Call, io: Io): Promise<Finding> => {
  const what = "runtime"
  try {
    const info = await withRuntime(call, io, (client) => client.request("runtime/info", {}))
    return {
      what,
      status: "ok",
      detail: `${info.version} is running, pid ${info.pid}; containment ${info.containment.level}: ${info.containment.detail}`,
    }
  } catch (error) {
    if (error instanceof CrecheError || (error instanceof CommandFailure && "url" in error.details))
      return { what, status: "bad", detail: error.message, remedy: "look at --url (CRECHE_URL) and CRECHE_TOKEN" }
    if (!(error instanceof CommandFailure)) throw error
    return ["ENOENT", "ECONNREFUSED", "ENOTDIR"].includes(String(error.details["errno"]))
      ? { what, status: "missing", detail: "none is running", remedy: "creche serve" }
      : { what, status: "bad", detail: error.message, remedy: "name another socket with --socket" }
  }
}

const marks = { ok: "ok     ", missing: "missing", bad: "BAD    " } as const

const render = (finding: Finding): string =>
  `${marks[finding.status]}  ${finding.what.padEnd(16)}  ${finding.detail}${
    finding.remedy === undefined ? "" : `\n${" ".repeat(27)}→ ${finding.remedy}`
  }`
