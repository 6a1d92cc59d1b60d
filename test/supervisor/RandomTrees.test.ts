/**
 * Trees of supervisors under random crashes and wishes, in virtual time. Whatever happens: never two processes of a session;
 * and once it is quiet, whoever should be up is up, whoever a client stopped or suspended is not, and nobody waits for a
 * restart that nobody makes. CRECHE_SEED repeats a run.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { restartStrategies } from "../../src/domain/SupervisorStore.ts"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import { during, inWorld, plain, type World } from "../support/FakeRuntime.ts"

const runs = 60

const play = (seed: number) => {
  const random = seeded(seed)
  const below = (n: number) => Math.floor(random() * n)
  const pick = <A>(of: ReadonlyArray<A>): A => of[below(of.length)]!
  const script = () => ({
    ...(random() < 0.3 ? { spawnMs: below(200) } : {}),
    endMs: random() < 0.5 ? 0 : below(300),
  })
  /** What clients want of each session. */
  const wants = new Map<string, "up" | "stopped" | "suspended">()
  const log: Array<string> = []

  const use = ({ runtime, spawner }: World) =>
    Effect.gen(function* () {
      const paths = ["root"]
      for (let n = 0; n < 4; n++) {
        const path = `${pick(paths)}/s${n}`
        // A limit of its own that is never reached.
        yield* runtime.startSupervisor({ path, strategy: pick(restartStrategies), maxRestarts: 10_000, withinMs: 1 })
        paths.push(path)
      }
      const fork = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.forkChild(Effect.ignore(effect), { startImmediately: true })
      const begin = (name: string) =>
        runtime.start(
          {
            ...plain,
            name,
            command: name,
            supervisor: pick(paths),
            restart: "permanent",
            backoff: { initialMs: below(3) * 50, factor: 1, jitter: 0 },
            intensity: { maxRestarts: 1_000_000 },
          },
          "fail",
        )
      let sessions = 0
      for (let step = 0; step < 60; step++) {
        const names = [...wants.keys()]
        const roll = random()
        if (roll < 0.2 || names.length === 0) {
          const name = `n${sessions++}`
          wants.set(name, "up")
          log.push(`start ${name}`)
          yield* fork(begin(name))
        } else if (roll < 0.65) {
          const alive = spawner.alive()
          if (alive.length > 0) {
            const process = pick(alive)
            log.push(`${process.command.command} crashes`)
            process.end(1)
          }
        } else {
          const name = pick(names)
          const wish = pick(["stop", "restart", "suspend", "resume", "remove", "tell"] as const)
          log.push(`${wish} ${name}`)
          if (wish === "tell") yield* fork(runtime.tell({ session: name, prompt: "x" }))
          else if (wish === "stop") {
            wants.set(name, "stopped")
            yield* fork(runtime.stop(name, "graceful"))
          } else if (wish === "remove") {
            wants.delete(name)
            yield* fork(runtime.remove(name))
          } else if (wish === "suspend") yield* fork(runtime.suspend(name))
          else {
            wants.set(name, "up")
            yield* fork(runtime[wish](name))
          }
        }
        if (random() < 0.6) yield* TestClock.adjust(below(400))
      }
      // A client that has nothing more to wish for: what it stopped stays so, what sleeps is woken.
      yield* TestClock.adjust(120_000)
      for (let turn = 0; turn < 5; turn++) yield* TestClock.adjust(10_000)
      const { sessions: there } = yield* runtime.list({ limit: 1000 })
      const odd = there.flatMap(({ name, status }) =>
        ["ready", "stopped", "suspended"].includes(status) ? [] : [`${name} is ${status}`],
      )
      expect(odd, `seed ${seed}: ${log.join("; ")}`).toEqual([])
      for (const { name, status } of there) {
        if (wants.get(name) === "stopped") expect(status, `seed ${seed}: ${name}: ${log.join("; ")}`).toBe("stopped")
        if (status !== "ready") continue
        const { text } = yield* during(runtime.ask({ session: name, prompt: "still?" }))
        expect(text).toBe("still?")
      }
    })
  return inWorld(script, use)
}

describe("trees of supervisors under random crashes and wishes", () => {
  const first = drawSeed("random trees")
  it.effect.each(Array.from({ length: runs }, (_, n) => (first + n) >>> 0))("come to rest as they should: %i", (seed) =>
    play(seed),
  )
})
