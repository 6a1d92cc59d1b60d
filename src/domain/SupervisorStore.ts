/**
 * The port behind which supervisors that clients started are kept, so that they come back with the next runtime. Paths are
 * unique; putting one again replaces it. It checks nothing: `supervisor/Supervisors` does, and is its only caller. `root` is
 * not in here: it is always there.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "./Errors.ts"
import type { SessionId } from "./Ids.ts"
import type { IntensitySpec } from "./SessionSpec.ts"

export const restartStrategies = ["one_for_one", "one_for_all", "rest_for_one"] as const
export type RestartStrategy = (typeof restartStrategies)[number]

/** `root/NAME`, or below another one: names as sessions have them. */
export const supervisorPathPattern = /^root(\/[A-Za-z0-9][A-Za-z0-9._-]{0,127})+$/u

/** The path of the supervisor that owns this one; of `root` itself: null. */
export const parentPath = (path: string): string | null => {
  const at = path.lastIndexOf("/")
  return at < 0 ? null : path.slice(0, at)
}

/** Why a supervisor is `failed`, and whom it took with it. */
export interface GivenUp {
  readonly reason: string
  /** The supervisor whose limit was reached: itself, or one above it; and that limit. */
  readonly by: string
  readonly intensity: IntensitySpec
  /** In start order: sessions that ran, and those that slept. `supervisor/start` brings them back so. */
  readonly running: ReadonlyArray<SessionId>
  readonly asleep: ReadonlyArray<SessionId>
}

export interface SupervisorRecord {
  readonly path: string
  readonly strategy: RestartStrategy
  /** null: it has no limit of its own. */
  readonly intensity: IntensitySpec | null
  /** When it was started first (epoch ms): its place among its siblings. */
  readonly createdAt: number
  /** null while it is running. */
  readonly givenUp: GivenUp | null
}

export class SupervisorStore extends Context.Service<
  SupervisorStore,
  {
    /** In order of their creation. */
    readonly supervisors: Effect.Effect<ReadonlyArray<SupervisorRecord>, StoreUnavailable>
    /** Durable once it returns. */
    readonly put: (record: SupervisorRecord) => Effect.Effect<void, StoreUnavailable>
    /** All of these at once. Removing what is not there changes nothing. */
    readonly remove: (paths: ReadonlyArray<string>) => Effect.Effect<void, StoreUnavailable>
  }
>()("creche/domain/SupervisorStore") {}

export const makeMemory = (): SupervisorStore["Service"] => {
  const kept = new Map<string, SupervisorRecord>()
  return {
    supervisors: Effect.sync(() => [...kept.values()]),
    // A record that is put again keeps its place.
    put: (record) => Effect.sync(() => void kept.set(record.path, record)),
    remove: (paths) => Effect.sync(() => paths.forEach((path) => kept.delete(path))),
  }
}

export const layerMemory: Layer.Layer<SupervisorStore> = Layer.sync(SupervisorStore, makeMemory)
