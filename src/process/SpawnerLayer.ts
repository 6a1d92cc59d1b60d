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
import { CgroupTree, probeCgroup, sweepCgroups } from "./CgroupTree.ts"
import { levelFor, noSubreaper, reportLevels } from "./ContainmentLevels.ts"
import { startInGroup, type GroupSubprocess } from "./GroupSpawner.ts"
import { findGuardBinary } from "./GuardBinary.ts"
import { sweepLedgers } from "./LedgerSweep.ts"
import { requireMainThread } from "./MainThread.ts"
import { findPerlGuard } from "./PerlGuard.ts"
import { closeAll, startUnderPerl, type PerlHost } from "./PerlSubprocess.ts"
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
  cgroups: CgroupTree | undefined,
  reportDefect: ReportDefect,
): Effect.Effect<SpawnServer, string> =>
  Effect.suspend(() => {
    const binary = findGuardBinary()
    if (!binary.found) return Effect.fail(binary.detail)
    return Effect.tryPromise({
      try: async () => {
        const server = await SpawnServer.start({
          binary: binary.path,
          directory,
          ledger,
          reportDefect,
          ...(cgroups === undefined ? {} : { cgroups }),
        })
        if (server.containment === "guard" || !whole) return server
        await server.close()
        throw new Error(noSubreaper)
      },
      catch: (error) => `the guard ${binary.path} does not do it: ${(error as Error).message}`,
    })
  })

/** What holds whole trees here, if anything does; `detail`: why it is nothing better. */
interface Guard {
  readonly server?: SpawnServer
  readonly perl?: PerlHost
  readonly detail: string
}

/** `why`: the reason to ask for it. */
const findPerl = (why: string, ledger: ProcessLedger, reportDefect: ReportDefect): Effect.Effect<Guard, string> =>
  Effect.suspend(() => {
    const found = findPerlGuard()
    if (!found.found) return Effect.fail(`${why}; ${found.detail}`)
    const { perl, script } = found
    return Effect.succeed({ perl: { perl, script, ledger, live: new Set(), reportDefect }, detail: why })
  })

const closeGuard = ({ server, perl }: Guard): Effect.Effect<void> =>
  Effect.promise(async () => {
    await server?.close()
    if (perl !== undefined) await closeAll(perl)
  })

/** Fails only when `level: "guard"` is asked for and cannot be had. */
export const layerSpawner = (options: SpawnerOptions): Layer.Layer<Spawner, SpawnFailed> =>
  Layer.effect(
    Spawner,
    Effect.gen(function* () {
      requireMainThread("a runtime")
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
      if (swept.survivors.length > 0) {
        yield* Effect.logError("what an earlier runtime left behind cannot be ended from here").pipe(
          Effect.annotateLogs({ pids: swept.survivors.join(" ") }),
        )
      }
      for (const { path, why } of swept.skipped) {
        yield* Effect.logWarning("a ledger of an earlier runtime was left as it is").pipe(
          Effect.annotateLogs({ path, why }),
        )
      }

      const cgroup = probeCgroup()
      if (cgroup.available) yield* Effect.promise(() => sweepCgroups(cgroup.root))

      const level = options.level ?? "auto"
      const guard =
        level === "group"
          ? { detail: "the configuration asks for process groups" }
          : yield* Effect.acquireRelease(
              startGuard(
                level === "guard",
                options.directory,
                ledger,
                cgroup.available ? new CgroupTree(cgroup) : undefined,
                reportDefect,
              ).pipe(
                Effect.map((server): Guard => ({ server, detail: noSubreaper })),
                Effect.catch((detail) => findPerl(detail, ledger, reportDefect)),
                Effect.catch((detail) =>
                  level === "guard"
                    ? Effect.fail(refused("guard", `the level "guard" does not hold here: ${detail}`))
                    : Effect.succeed<Guard>({ detail }),
                ),
              ),
              closeGuard,
            )

      const inGroups = new Set<GroupSubprocess>()
      const spawnInGroup = scopedSpawn((command, handlers, settle) =>
        startInGroup({ ledger, live: inGroups, reportDefect }, command, handlers, settle),
      )
      const { server, perl }: Guard = guard
      if (server !== undefined) ledger.holds(server.directory)
      const containment = reportLevels({
        server: perl === undefined ? (server?.containment ?? null) : "guard",
        detail: guard.detail,
        namespace: server?.namespace,
        cgroup,
        ...(perl === undefined ? {} : { perl: guard.detail }),
      })
      const under = (held: Containment) =>
        server !== undefined
          ? scopedSpawn((command, handlers, settle) => server.spawn(command, handlers, settle, held))
          : perl !== undefined
            ? scopedSpawn((command, handlers, settle) => startUnderPerl(perl, command, handlers, settle))
            : spawnInGroup
      const spawners = {
        // Asked for by name it is Node's own spawn, whatever the guard could do.
        group: { auto: under("group"), named: spawnInGroup },
        guard: under("guard"),
        namespace: under("namespace"),
        cgroup: under("cgroup"),
      }

      return Spawner.of({
        containment,
        spawn: (command: Command, handlers: SubprocessHandlers) => {
          const held = levelFor(command, containment)
          if (typeof held !== "string") return Effect.fail(held)
          const start =
            held !== "group"
              ? spawners[held]
              : command.containment === "auto"
                ? spawners.group.auto
                : spawners.group.named
          return start(command, handlers)
        },
        live: Effect.sync(() => [
          ...(server?.live ?? []),
          ...[...inGroups, ...(perl?.live ?? [])].map((subprocess) => subprocess.pid),
        ]),
      })
    }),
  )
