/**
 * The levels of containment as this machine has them: what is to be had, what a command gets, and what is refused. Pure;
 * what holds here was found out by trying, at the start. Less than was asked for is never given.
 */
import { SpawnFailed } from "../domain/Errors.ts"
import type { Containment, ContainmentReport, LevelReport } from "../domain/Session.ts"
import type { CgroupProbe, Controller } from "./CgroupTree.ts"
import type { Command, ResourceLimits } from "./Command.ts"
import { guardSteps, type GuardStep } from "./GuardProtocol.ts"
import { errnoName } from "./SpawnDiagnosis.ts"

/** What the guard's server found when it tried a namespace; null: it works; undefined: it did not say. */
export type NamespaceProbe = { readonly step: GuardStep; readonly errno: number } | null | undefined

/** What `guard --probe` prints. */
export const parseProbe = (text: string): Pick<Found, "server" | "namespace"> => {
  const [, step, errno] = /^namespace (\d+) (\d+)$/m.exec(text) ?? []
  return {
    server: /^guard 1$/m.test(text) ? "guard" : "group",
    namespace:
      step === undefined
        ? undefined
        : step === "0"
          ? null
          : { step: guardSteps[Number(step) - 1] ?? "exec", errno: Number(errno) },
  }
}

export interface Found {
  /** `guard`: a server whose guards adopt whole trees. `group`: one that holds process groups. null: none runs. */
  readonly server: "guard" | "group" | null
  /** Why it is not more than that. */
  readonly detail: string
  readonly namespace: NamespaceProbe
  readonly cgroup: CgroupProbe
  /** Set: it is the Perl form of the guard that runs, for this reason. */
  readonly perl?: string
}

/** What a server holds without one. */
export const noSubreaper = "the process group, also when the runtime is killed; this system lets no guard adopt daemons"

const wholeTree = "the whole tree, also setsid and daemons, also when the runtime is killed"

const namespaceRefused = ({ step, errno }: Exclude<NamespaceProbe, null | undefined>): string => {
  const name = errnoName(errno)
  if (step === "proc") {
    return `/proc cannot be mounted in a namespace here (${name}): this container hides parts of /proc, and the kernel then allows no whole one`
  }
  switch (name) {
    case "EPERM":
    case "EACCES":
      return `this user may make no PID namespace (${name}): a container's seccomp profile, AppArmor (kernel.apparmor_restrict_unprivileged_userns) or kernel.unprivileged_userns_clone forbids it`
    case "ENOSPC":
      return "no more namespaces are allowed (ENOSPC): raise user.max_user_namespaces and user.max_pid_namespaces"
    case "EINVAL":
    case "ENOSYS":
      return `this kernel has no PID namespaces (${name})`
    default:
      return `a namespace could not be had (${name}, at the step ${step})`
  }
}

const controllerNames = (held: ReadonlyArray<Controller>): string => {
  const watched = "its guard watches"
  if (held.length === 2) return "the kernel holds memory and processes"
  if (held.length === 0) return `memory and processes are limited by what ${watched}: no controller is to be had`
  return held[0] === "memory"
    ? `the kernel holds memory, ${watched} processes`
    : `the kernel holds processes, ${watched} memory`
}

const byPerl = (why: string): string =>
  `${wholeTree}; by the Perl form, a process of some 3 MB for each command: ${why}`

export const reportLevels = ({ server, detail, namespace, cgroup, perl }: Found): ContainmentReport => {
  const guarded = server === "guard"
  const whole = perl === undefined ? wholeTree : byPerl(perl)
  const guard: LevelReport = { level: "guard", available: guarded, detail: guarded ? whole : detail }
  const levels: ReadonlyArray<LevelReport> = [
    { level: "group", available: true, detail: "the process group alone, not what left it by setsid" },
    guard,
    {
      level: "namespace",
      available: guarded && namespace === null,
      detail: !guarded
        ? detail
        : namespace === null
          ? "as guard, and the kernel ends the tree also when runtime, server and guard are killed together; it sees no process but its own"
          : perl !== undefined
            ? "the Perl form of the guard makes no namespaces"
            : namespace === undefined
              ? "the probe was not answered"
              : namespaceRefused(namespace),
    },
    {
      level: "cgroup",
      available: guarded && perl === undefined && cgroup.available,
      detail: !guarded
        ? detail
        : perl !== undefined
          ? "the Perl form of the guard joins no cgroup"
          : cgroup.available
            ? `as guard, and one write ends all of it; in ${cgroup.root}; ${controllerNames(cgroup.controllers)}`
            : cgroup.detail,
    },
  ]
  return guarded ? { level: "guard", detail: whole, levels } : { level: "group", detail, levels }
}

const isLimited = (limits: ResourceLimits | undefined): boolean =>
  limits !== undefined && (limits.memoryBytes !== undefined || limits.processes !== undefined)

/** The level that a command gets, or why it may not start. */
export const levelFor = (command: Command, report: ContainmentReport): Containment | SpawnFailed => {
  const { containment: asked } = command
  const level = asked === "auto" ? report.level : asked
  const found = report.levels.find((one) => one.level === level)
  const refused = (field: "containment" | "limits", detail: string) =>
    new SpawnFailed({ command: command.command, field, errno: "ELEVEL", detail })
  if (found === undefined || !found.available) {
    return refused(
      "containment",
      `the level "${level}" does not hold here: ${found?.detail ?? "there is no such level"}`,
    )
  }
  if (level === "group" && isLimited(command.limits)) {
    const what = command.limits?.memoryBytes === undefined ? "limits.processes" : "limits.memoryBytes"
    const better = report.levels.find((one) => one.level === "guard")
    const remedy =
      better?.available === true ? 'ask for "auto" or "guard"' : `"guard" does, and is not to be had: ${better?.detail}`
    return refused("limits", `the level "group" holds no ${what}; ${remedy}`)
  }
  return level
}
