/**
 * `child_process.spawn` whose children are guarded: the same signature, options, events and failures, and a real ChildProcess.
 * It starts the guard in the command's place and lets it run the command (`native/guard/run.c`), so that Node's own pipes,
 * channels and descriptors reach the command untouched. Loads neither Effect nor the runtime. What differs: docs/guard.md.
 */
import * as childProcess from "node:child_process"
import type {
  ChildProcess,
  ChildProcessWithoutNullStreams,
  SpawnOptions,
  SpawnOptionsWithoutStdio,
  StdioOptions,
} from "node:child_process"
import { requireMainThread } from "../process/MainThread.ts"
import { findGuard, type FoundGuard, type SpawnContainment } from "./Containment.ts"
import { failingPath } from "./FailedSpawn.ts"
import { openReport, tellFailure, type FailureReport } from "./FailureReport.ts"
import { spawnInGroup } from "./GroupSpawn.ts"
import { killOrder, killWhole } from "./WholeKill.ts"
import { readCall, type GuardOptions, type SpawnCall } from "./SpawnCall.ts"

type NodeSpawn = typeof childProcess.spawn

export interface GuardedSpawn extends NodeSpawn {
  (command: string, options: SpawnOptionsWithoutStdio & GuardOptions): ChildProcessWithoutNullStreams
  (command: string, options: SpawnOptions & GuardOptions): ChildProcess
  (
    command: string,
    args: ReadonlyArray<string> | undefined,
    options: SpawnOptionsWithoutStdio & GuardOptions,
  ): ChildProcessWithoutNullStreams
  (command: string, args: ReadonlyArray<string> | undefined, options: SpawnOptions & GuardOptions): ChildProcess
  /** What holds the children here. */
  readonly containment: SpawnContainment
}

// Before anybody puts the function below in its place.
const nodeSpawn: NodeSpawn = childProcess.spawn

let report: FailureReport | undefined

/** The stdio that Node is asked for, with the report behind it; undefined: Node refuses what is asked for. */
const stdioWith = (stdio: StdioOptions | undefined, fd: number | undefined): Array<unknown> | undefined => {
  let given: Array<unknown>
  if (!stdio) given = []
  else if (Array.isArray(stdio)) given = [...stdio]
  else if (["pipe", "overlapped", "ignore", "inherit"].includes(stdio)) given = [stdio, stdio, stdio]
  else return undefined
  while (given.length < 3) given.push(undefined)
  return fd === undefined ? given : [...given, fd]
}

/** The environment without what is handed over apart, and that as words for the guard. */
const divide = (env: NodeJS.ProcessEnv, isOwn: FoundGuard["isOwnVariable"]) => {
  const own = Object.keys(env).filter(isOwn)
  if (own.length === 0) return { env, words: [] }
  const rest = Object.fromEntries(Object.entries(env).filter(([name]) => !isOwn(name)))
  return { env: rest, words: own.flatMap((name) => ["--env", `${name}=${env[name] ?? ""}`]) }
}

const guardWords = ({ file, args, options }: SpawnCall, reportAt: number | undefined): Array<string> => {
  const words = ["--parent", String(process.pid), ...killOrder]
  const say = (name: string, value: string | number | null | undefined) => {
    if (value != null) words.push(`--${name}`, String(value))
  }
  say("report", reportAt)
  say("grace-ms", options.graceMs)
  say("argv0", options.argv0)
  say("uid", options.uid)
  say("gid", options.gid)
  return [...words, "--", file, ...args]
}

/** The names that the program knows, whatever was started in its place. */
const rename = (child: ChildProcess, { file, args, options }: SpawnCall): ChildProcess =>
  Object.assign(child, { spawnfile: file, spawnargs: [options.argv0 ?? file, ...args] })

/** Undefined: Node refuses the stdio. */
const spawnGuarded = (
  call: SpawnCall,
  [program, ...words]: NonNullable<FoundGuard["guard"]>,
  isOwnVariable: FoundGuard["isOwnVariable"],
): ChildProcess | undefined => {
  report ??= openReport()
  const stdio = stdioWith(call.options.stdio, report?.fd)
  if (stdio === undefined) return undefined
  const options = { ...call.options }
  for (const ours of ["shell", "argv0", "containment", "graceMs"] as const) delete options[ours]
  const failing = failingPath(call)
  if (failing !== undefined) return rename(nodeSpawn(failing, [...call.args], options), call)
  // The guard changes them for the command; it keeps its own, so that it can end whatever that becomes.
  for (const ours of ["uid", "gid"] as const) delete options[ours]
  const said = guardWords(call, report === undefined ? undefined : stdio.length - 1)
  const divided = divide(options.env ?? process.env, isOwnVariable)
  const child = nodeSpawn(program, [...words, ...divided.words, ...said], {
    ...options,
    ...(divided.words.length > 0 ? { env: divided.env } : {}),
    stdio: stdio as StdioOptions,
  })
  if (report !== undefined) {
    const streams: Array<unknown> = child.stdio as unknown as Array<unknown>
    streams.pop()
    tellFailure(child, call, report)
  }
  killWhole(child)
  return rename(child, call)
}

const refuse = (options: GuardOptions): void => {
  const { containment = "auto", graceMs = 0 } = options
  if (containment !== "auto" && containment !== "guard")
    throw Object.assign(
      new TypeError(`options.containment must be "auto" or "guard", not ${JSON.stringify(containment)}`),
      {
        code: "ERR_INVALID_ARG_VALUE",
      },
    )
  if (!Number.isInteger(graceMs) || graceMs < 0 || graceMs > 0x7fffffff)
    throw Object.assign(
      new RangeError(`options.graceMs must be a whole number of milliseconds from 0 to 2147483647, not ${graceMs}`),
      {
        code: "ERR_OUT_OF_RANGE",
      },
    )
}

const spawnAny = (file: string, second?: unknown, third?: unknown): ChildProcess => {
  requireMainThread("creche/spawn")
  const asNode = () => (nodeSpawn as (...call: ReadonlyArray<unknown>) => ChildProcess)(file, second, third)
  const call = readCall(file, second, third)
  if (call === undefined) return asNode()
  refuse(call.options)
  const found = findGuard()
  if (found.guard !== undefined) return spawnGuarded(call, found.guard, found.isOwnVariable) ?? asNode()
  if (call.options.containment === "guard")
    throw Object.assign(new Error(`the level "guard" does not hold here: ${found.detail}`), {
      code: "ERR_CRECHE_CONTAINMENT",
    })
  return spawnInGroup(nodeSpawn, call)
}

export const spawn = Object.defineProperty(spawnAny, "containment", {
  enumerable: true,
  get: (): SpawnContainment => {
    const { level, detail } = findGuard()
    return { level, detail }
  },
}) as unknown as GuardedSpawn
