/** A test bench for one spawner: starts commands, records what their handlers were told, looks at real processes. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { ExitReason } from "../../src/domain/ExitReason.ts"
import type { Containment } from "../../src/domain/Session.ts"
import type { Command } from "../../src/process/Command.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { defaultSpares } from "../../src/process/SpareGuards.ts"
import { layerSpawner } from "../../src/process/SpawnerLayer.ts"
import { Spawner, type Subprocess, type SubprocessHandlers } from "../../src/process/Subprocess.ts"

export const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

const binary = findGuardBinary()
/** Empty: the guard can be tested here; otherwise why not. */
export const noGuard = binary.found ? "" : `skipped, ${binary.detail}`
/** Empty: descendants outside the group are held here too; otherwise why not. */
export const noTree =
  noGuard !== "" ? noGuard : process.platform === "linux" ? "" : "skipped, only Linux lets a guard adopt daemons"

/** Waits for a condition; fails with `what` at the deadline. */
export const eventually = async <A>(
  what: string,
  probe: () => A | undefined | false | Promise<A | undefined | false>,
  withinMs = 10_000,
): Promise<A> => {
  const deadline = performance.now() + withinMs
  for (;;) {
    const found = await probe()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Empty: this level can be tested here; otherwise why not. */
export const noLevel = async (level: Containment): Promise<string> => {
  if (noTree !== "") return noTree
  const bench = await openBench("guard")
  const found = bench.spawner.containment.levels.find((one) => one.level === level)
  await bench.close()
  return found?.available === true ? "" : `skipped, ${found?.detail ?? "there is no such level"}`
}

let tokens = 0
/** In a process's arguments it tells that process from all others on the machine. */
export const freshToken = (): string => `${process.pid}${String(Date.now()).slice(-6)}${++tokens}`

const pids = (): ReadonlyArray<number> =>
  readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0)

const readProc = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1")
  } catch {
    return ""
  }
}

/** Living processes with the token in their arguments, this one aside. */
export const pidsWith = (token: string): ReadonlyArray<number> =>
  pids().filter((pid) => pid !== process.pid && readProc(pid, "cmdline").includes(token))

/** For cleaning up: it may end by itself meanwhile. */
export const killIfThere = (pid: number): void => {
  try {
    process.kill(pid, "SIGKILL")
  } catch {
    // It ended.
  }
}

export const stateOf = (pid: number): string => /^State:\s+(\S)/m.exec(readProc(pid, "status"))?.[1] ?? ""

export const isGone = (pid: number): boolean => {
  const state = stateOf(pid)
  return state === "" || state === "X"
}

export const childrenOf = (pid: number): ReadonlyArray<number> =>
  pids().filter((other) => new RegExp(`^PPid:\\s+${pid}$`, "m").test(readProc(other, "status")))

/** The server is the runtime's only child that serves this directory. */
export const serverOf = (runtime: number, directory: string): number | undefined =>
  childrenOf(runtime).find((pid) => {
    const cmdline = readProc(pid, "cmdline")
    return cmdline.includes("--serve") && cmdline.includes(directory)
  })

export const openDescriptors = (): number => readdirSync("/proc/self/fd").length

const named = (pid: number, name: string): boolean => stateOf(pid) !== "Z" && readProc(pid, "comm").trim() === name

/** Guards that hold a command, and guards that wait for one. */
export const guardsOf = (server: number): ReadonlyArray<number> =>
  childrenOf(server).filter((pid) => named(pid, "creche-session"))
export const sparesOf = (server: number): ReadonlyArray<number> =>
  childrenOf(server).filter((pid) => named(pid, "creche-spare"))

/**
 * It has 0, 1, 2, the events, the liveness, its fifo and three streams, and waits: one that has not got so far will cost the
 * runtime three descriptors more, and one that runs may be about to go, since the runtime has dropped it.
 */
const isWaiting = (spare: number): boolean => {
  try {
    return readdirSync(`/proc/${spare}/fd`).length >= 9 && stateOf(spare) === "S"
  } catch {
    return false
  }
}

/** Descriptors once all spare guards are there and nothing moves any more. `directory`: the spawner's; none, no spares. */
export const descriptorsAtRest = async (directory?: string): Promise<number> => {
  let last = 0
  let same = 0
  await eventually("descriptors at rest", () => {
    const now = openDescriptors()
    same = now === last ? same + 1 : 0
    last = now
    if (same < 10) return false
    if (directory === undefined) return true
    const server = serverOf(process.pid, directory)
    return server !== undefined && sparesOf(server).filter(isWaiting).length === defaultSpares
  })
  return last
}

export class Recorder implements SubprocessHandlers {
  stdout = ""
  stdoutBytes = 0
  stderr = ""
  stderrBytes = 0
  drains = 0
  readonly order: Array<"stdout" | "stderr" | "exit" | "closed"> = []
  readonly exits: Array<ExitReason> = []
  private readonly closing = Promise.withResolvers<ReadonlyArray<number>>()
  private readonly exiting = Promise.withResolvers<ExitReason>()

  onStdout = (chunk: Buffer) => {
    this.stdoutBytes += chunk.length
    if (this.stdout.length < 1_000_000) this.stdout += chunk.toString()
    if (this.order.at(-1) !== "stdout") this.order.push("stdout")
  }
  onStderr = (chunk: Buffer) => {
    this.stderrBytes += chunk.length
    if (this.stderr.length < 1_000_000) this.stderr += chunk.toString()
    if (this.order.at(-1) !== "stderr") this.order.push("stderr")
  }
  onDrain = () => {
    this.drains++
  }
  onExit = (exit: ExitReason) => {
    this.exits.push(exit)
    this.order.push("exit")
    this.exiting.resolve(exit)
  }
  onClosed = (survivors: ReadonlyArray<number>) => {
    this.order.push("closed")
    this.closing.resolve(survivors)
  }
  get exit(): Promise<ExitReason> {
    return this.exiting.promise
  }
  get closed(): Promise<ReadonlyArray<number>> {
    return this.closing.promise
  }
}

export interface Started {
  readonly subprocess: Subprocess
  readonly recorder: Recorder
  /** Closes the subprocess's scope. */
  readonly close: () => Promise<void>
}

export interface SpawnerBench {
  readonly spawner: Spawner["Service"]
  readonly directory: string
  readonly start: (command: string, args?: ReadonlyArray<string>, over?: Partial<Command>) => Promise<Started>
  readonly close: () => Promise<void>
}

export const commandOf = (command: string, args: ReadonlyArray<string>, over: Partial<Command> = {}): Command => ({
  session: "s",
  command,
  args,
  cwd: tmpdir(),
  env: { PATH: process.env["PATH"] ?? "" },
  shutdown: { signal: "SIGTERM", graceMs: 2_000, stdinEofMs: 0 },
  containment: "auto",
  ...over,
})

/** `directory` is removed at the close. */
export const openBench = async (
  level: Containment,
  directory = mkdtempSync(join(tmpdir(), "creche-test-")),
): Promise<SpawnerBench> => {
  const scope = Scope.makeUnsafe()
  const context = await Effect.runPromise(
    Layer.buildWithScope(layerSpawner({ directory, level: level === "group" ? "group" : "guard" }), scope),
  )
  const found = Context.get(context, Spawner)
  // What asks for no level gets the one of the bench.
  const spawner: Spawner["Service"] = {
    ...found,
    spawn: (command, handlers) =>
      found.spawn(
        command.containment === "auto" && (level === "namespace" || level === "cgroup")
          ? { ...command, containment: level }
          : command,
        handlers,
      ),
  }
  return {
    spawner,
    directory,
    start: async (command, args = [], over = {}) => {
      const recorder = new Recorder()
      const own = Scope.makeUnsafe()
      const subprocess = await Effect.runPromise(
        spawner.spawn(commandOf(command, args, over), recorder).pipe(Scope.provide(own)),
      )
      return { subprocess, recorder, close: () => Effect.runPromise(Scope.close(own, Exit.void)) }
    },
    close: async () => {
      await Effect.runPromise(Scope.close(scope, Exit.void))
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
