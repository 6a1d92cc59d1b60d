/**
 * Chooses who spawns: the spawn server where it works, Node's own spawn with a process group where it does
 * not, and says which and why. A level that is asked for by name and not to be had is a failure, never less.
 */
import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { placeOf } from "../domain/Defect.ts"
import { SpawnFailed } from "../domain/Errors.ts"
import type { Containment } from "../domain/Session.ts"
import type { Command } from "./Command.ts"
import { startInGroup, type GroupSubprocess } from "./GroupSpawner.ts"
import { findGuardBinary } from "./GuardBinary.ts"
import { sweepLedgers } from "./LedgerSweep.ts"
import type { ReportDefect } from "./PipedSubprocess.ts"
import { ProcessLedger } from "./ProcessLedger.ts"
import { scopedSpawn } from "./ScopedSpawn.ts"
import { SpawnServer } from "./SpawnServer.ts"
import { Spawner, type SubprocessHandlers } from "./Subprocess.ts"

export interface SpawnerOptions {
  /** The runtime's private data directory; made with mode 0700 when missing. */
  readonly directory: string
  /** Default "auto": the strongest that works here. */
  readonly level?: "auto" | Containment
}

const refused = (command: string, detail: string): SpawnFailed =>
  new SpawnFailed({ command, field: "containment", errno: "ELEVEL", detail })

/** `whole`: a server that holds no more than process groups will not do. */
const startGuard = (
  whole: boolean,
  directory: string,
  ledger: ProcessLedger,
  reportDefect: ReportDefect,
): Effect.Effect<SpawnServer, string> =>
  Effect.suspend(() => {
    const binary = findGuardBinary()
    if (!binary.found) return Effect.fail(binary.detail)
    return Effect.tryPromise({
      try: async () => {
        const server = await SpawnServer.start({ binary: binary.path, directory, ledger, reportDefect })
        if (server.containment === "guard" || !whole) return server
        await server.close()
        throw new Error(noSubreaper)
      },
      catch: (error) => `the guard ${binary.path} does not do it: ${(error as Error).message}`,
    })
  })

const noSubreaper = "the process group, also when the runtime is killed; this system lets no guard adopt daemons"

/** Undefined: this level holds here, so the command may start. */
const refuse = (command: Command, guard: boolean, why: string): SpawnFailed | undefined => {
  switch (command.containment) {
    case "auto":
    case "group":
      return undefined
    case "guard":
      return guard ? undefined : refused(command.command, `the level "guard" does not hold here: ${why}`)
    case "namespace":
    case "cgroup":
      return refused(command.command, `the level "${command.containment}" is not available: ask for "auto" or "guard"`)
  }
}

/** Fails only when `level: "guard"` is asked for and cannot be had. */
export const layerSpawner = (options: SpawnerOptions): Layer.Layer<Spawner, SpawnFailed> =>
  Layer.effect(
    Spawner,
    Effect.gen(function* () {
      const runFork = Effect.runForkWith(yield* Effect.context<never>())
      const reportDefect: ReportDefect = (what, error) =>
        void runFork(Effect.logError(`${what} threw: ${placeOf(error)}`))

      const ledger = yield* Effect.acquireRelease(
        Effect.sync(() => new ProcessLedger(options.directory, `${process.pid}-${randomBytes(4).toString("hex")}`)),
        (opened) => Effect.sync(() => opened.close()),
      )
      const swept = yield* Effect.promise(() => sweepLedgers(options.directory, ledger.path))
      if (swept.killed.length > 0) {
        yield* Effect.logWarning(`ended ${swept.killed.length} processes that an earlier runtime left behind`).pipe(
          Effect.annotateLogs({ pids: swept.killed.join(" ") }),
        )
      }

      const level = options.level ?? "auto"
      const guard =
        level === "group"
          ? { server: undefined, detail: "the configuration asks for process groups" }
          : yield* Effect.acquireRelease(
              startGuard(level === "guard", options.directory, ledger, reportDefect).pipe(
                Effect.map((server) => ({
                  server,
                  detail:
                    server.containment === "guard"
                      ? "the whole tree, also setsid and daemons, also when the runtime is killed"
                      : noSubreaper,
                })),
                Effect.catch((detail) =>
                  level === "guard"
                    ? Effect.fail(refused("guard", `the level "guard" does not hold here: ${detail}`))
                    : Effect.succeed({ server: undefined, detail }),
                ),
              ),
              ({ server }) => (server === undefined ? Effect.void : Effect.promise(() => server.close())),
            )

      const inGroups = new Set<GroupSubprocess>()
      const spawnInGroup = scopedSpawn((command, handlers, settle) =>
        startInGroup({ ledger, live: inGroups, reportDefect }, command, handlers, settle),
      )
      const server = guard.server
      if (server !== undefined) ledger.holds(server.directory)
      const spawnUnderGuard =
        server === undefined
          ? spawnInGroup
          : scopedSpawn((command, handlers, settle) => server.spawn(command, handlers, settle))

      return Spawner.of({
        containment: { level: server?.containment ?? "group", detail: guard.detail },
        spawn: (command: Command, handlers: SubprocessHandlers) => {
          const refusal = refuse(command, server?.containment === "guard", guard.detail)
          if (refusal !== undefined) return Effect.fail(refusal)
          return command.containment === "group" ? spawnInGroup(command, handlers) : spawnUnderGuard(command, handlers)
        },
        live: Effect.sync(() => [...(server?.live ?? []), ...[...inGroups].map((subprocess) => subprocess.pid)]),
      })
    }),
  )
