/**
 * The Spawner port without an operating system: spawns that are slow, that fail, that hang. It keeps every process it made
 * and judges at every start that nothing of the one before is left.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { SessionId } from "../../src/domain/Ids.ts"
import type { Command } from "../../src/process/Command.ts"
import type { Spawner, Subprocess, SubprocessHandlers } from "../../src/process/Subprocess.ts"
import { calmLife, type Life } from "./Plan.ts"
import type { Records, SessionRecord } from "./Records.ts"
import type { RuntimeLife } from "./RuntimeLife.ts"
import { SimulatedChild } from "./SimulatedChild.ts"
import type { World } from "./World.ts"

/** As the spawn server's own. */
const spawnTimeoutMs = 10_000

/** Told of every spawn as it begins. */
export type SpawnWatcher = (session: SessionRecord, child: SimulatedChild) => void

export class SimulatedSpawner {
  readonly #world: World
  readonly #records: Records
  readonly #places: ReadonlyMap<string, number>
  readonly #spawns = new Map<number, number>()
  /** Not gone, by session. */
  readonly live = new Map<string, Array<SimulatedChild>>()
  /** All there ever were, by pid. */
  readonly made = new Map<number, SimulatedChild>()
  readonly watchers: Array<SpawnWatcher> = []
  spawns = 0

  constructor(world: World, records: Records) {
    this.#world = world
    this.#records = records
    this.#places = new Map(world.plan.sessions.map(({ spec }, place) => [spec.name, place]))
  }

  /** The trees that there are. */
  *children(): Generator<SimulatedChild> {
    for (const children of this.live.values()) yield* children
  }

  of(session: string): ReadonlyArray<SimulatedChild> {
    return this.live.get(session) ?? []
  }

  get empty(): boolean {
    return this.live.size === 0
  }

  /** A runtime died, and its pipes are closed. */
  orphan(life: RuntimeLife): void {
    for (const child of [...this.children()]) if (child.runtime === life) child.orphaned()
  }

  open(life: RuntimeLife): Spawner["Service"] {
    return {
      containment: { level: "guard", detail: "simulated", levels: [] },
      live: Effect.sync(() => Array.from(this.children(), ({ pid }) => pid)),
      spawn: (command, handlers) => this.#spawn(life, command, handlers),
    }
  }

  #spawn(
    life: RuntimeLife,
    command: Command,
    handlers: SubprocessHandlers,
  ): Effect.Effect<Subprocess, SpawnFailed, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) => {
      let child: SimulatedChild | undefined
      const settled = Effect.callback<SimulatedChild, SpawnFailed>((resume) => {
        child = this.#begin(life, command, handlers, (result) => {
          if (life.alive) resume("_tag" in result ? Effect.fail(result) : Effect.succeed(result))
        })
      })
      return restore(settled).pipe(
        Effect.onInterrupt(() => {
          if (child === undefined) return Effect.void
          child.discard()
          return child.terminate("brutal_kill")
        }),
        Effect.flatMap((spawned) =>
          Effect.flatMap(Effect.scope, (scope) => {
            this.#world.soon(() => spawned.open())
            return Effect.as(
              Scope.addFinalizer(
                scope,
                Effect.suspend(() => spawned.terminate(command.shutdown)),
              ),
              spawned,
            )
          }),
        ),
      )
    })
  }

  #lifeOf(name: string): Life {
    const place = this.#places.get(name)
    if (place === undefined || this.#world.healed) return calmLife
    const count = this.#spawns.get(place) ?? 0
    this.#spawns.set(place, count + 1)
    const { lives, further } = this.#world.plan.sessions[place]!
    return lives[count] ?? (further === "again" ? lives.at(-1) : undefined) ?? calmLife
  }

  #begin(
    runtime: RuntimeLife,
    command: Command,
    handlers: SubprocessHandlers,
    settle: (result: SimulatedChild | SpawnFailed) => void,
  ): SimulatedChild | undefined {
    if (!runtime.does("spawn")) return undefined
    const world = this.#world
    const record = this.#records.sessions.get(command.session as SessionId)
    const name = record?.name ?? command.session
    const life = this.#lifeOf(name)
    const pid = ++this.spawns
    const child = new SimulatedChild({
      world,
      runtime,
      command,
      handlers,
      life,
      pid,
      name: `${name}#${pid}`,
      onGone: (gone) => this.#gone(gone),
    })
    this.made.set(pid, child)
    const siblings = this.live.get(command.session)
    const left = siblings?.filter(({ survives }) => !survives) ?? []
    if (left.length > 0)
      world.broke("never-two", `${child.name} is started beside ${left.map(({ name }) => name).join(", ")}`)
    this.#judgeAdmission(child)
    if (siblings === undefined) this.live.set(command.session, [child])
    else siblings.push(child)
    world.say(`${child.name} spawn ${command.args.filter((arg) => /resume|fork/.test(arg)).join(" ")}`)
    if (record === undefined) world.broke("acknowledged-is-stored", `${command.session} is spawned and on no record`)
    else for (const watch of this.watchers) watch(record, child)
    const fail = (errno: string) => {
      if (child.gone) return
      child.discard()
      child.neverWas()
      settle(new SpawnFailed({ command: command.command, field: "command", errno, detail: "as the plan says" }))
    }
    switch (life.spawn) {
      case "fails":
        world.in(life.spawnMs, () => fail("ENOENT"))
        break
      case "hangs":
        world.in(spawnTimeoutMs, () => fail("ETIMEDOUT"))
        break
      case "works":
        world.in(life.spawnMs, () => {
          if (child.gone || !runtime.alive) return
          child.up()
          settle(child)
        })
        break
    }
    return child
  }

  /** Before it is one of the live itself. */
  #judgeAdmission(child: SimulatedChild): void {
    const { maxLiveSessions } = this.#world.plan.world.admission
    if (maxLiveSessions === null) return
    let live = 1
    for (const children of this.live.values()) if (children.some(({ survives }) => !survives)) live++
    if (live > maxLiveSessions) {
      this.#world.broke("admission-bound", `${child.name} is live as the ${live}th of ${maxLiveSessions}`)
    }
  }

  #gone(child: SimulatedChild): void {
    const { session } = child.command
    const left = (this.live.get(session) ?? []).filter((other) => other !== child)
    if (left.length === 0) this.live.delete(session)
    else this.live.set(session, left)
  }
}
