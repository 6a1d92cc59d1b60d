import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { checkConfiguration, type Configuration } from "../../src/config/Configuration.ts"
import { configuredOptions, noConfiguration, startConfigured } from "../../src/config/ConfiguredRuntime.ts"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { Session } from "../../src/domain/Session.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { Runtime, SupervisorTreeNode } from "../../src/supervisor/Runtime.ts"
import { defaultOptions } from "../../src/supervisor/RuntimeConfig.ts"
import { during, inWorld, plain } from "../support/FakeRuntime.ts"

const configurationOf = (...lines: ReadonlyArray<string>): Configuration => {
  const checked = checkConfiguration(["version: 1", ...lines].join("\n"), "/etc/creche")
  if (checked._tag === "Wrong") throw new Error(JSON.stringify(checked.problems))
  return checked.configuration
}

describe("what a file makes of a runtime's options", () => {
  it("is the defaults where it says nothing", () => {
    const { restarts, admission, retention } = defaultOptions
    expect(configuredOptions(noConfiguration)).toMatchObject({ restarts, admission, retention })
  })

  it("is what it says, and the defaults for the rest", () => {
    const options = configuredOptions(
      configurationOf(
        "runtime:",
        "  maxLiveSessions: 50",
        "  whenFull: refuse",
        "  restarts: {burst: 7}",
        "  retention: {maxAgeMs: 1000}",
      ),
    )
    expect(options.admission).toEqual({ maxLiveSessions: 50, maxLiveProcesses: null, whenFull: "refuse" })
    expect(options.restarts).toEqual({ ...defaultOptions.restarts, burst: 7 })
    expect(options.retention).toEqual({ maxAgeMs: 1000 })
    expect(configuredOptions(configurationOf("runtime: {maxLiveProcesses: 9}")).admission).toEqual({
      maxLiveSessions: null,
      maxLiveProcesses: 9,
      whenFull: "wait",
    })
  })

  it("leaves the store to whoever opens it", () => {
    expect(configurationOf("runtime: {store: memory}").runtime.store).toBe("memory")
    expect(configuredOptions(configurationOf("runtime: {store: memory}"))).not.toHaveProperty("store")
  })
})

/** A runtime that tells what it was asked. */
const fakeRuntime = () => {
  const asked: Array<string> = []
  const runtime = {
    configure: ({ name = "", command }: SessionSpecInput) =>
      Effect.suspend(() => {
        asked.push(name)
        return command === "none"
          ? Effect.fail(
              new SpawnFailed({ command: name, field: "command", errno: "ENOENT", detail: "no such program" }),
            )
          : Effect.succeed({ name, status: "ready" } as unknown as Session)
      }),
  } as unknown as Runtime["Service"]
  return { runtime, asked }
}

describe("the supervisors of a file", () => {
  it.effect("are there before its sessions; below one with an order these start one after the other", () =>
    inWorld(
      (_, { command }) => ({ spawnMs: command === "a" ? 100 : 0 }),
      (world) =>
        Effect.gen(function* () {
          const configuration: Configuration = {
            ...noConfiguration,
            supervisors: [{ path: "root/s", strategy: "rest_for_one" }, { path: "root/s/n" }],
            sessions: ["a", "b", "c"].map((name) => ({ ...plain, name, command: name, supervisor: "root/s" })),
          }
          yield* during(startConfigured(world.runtime, configuration))
          expect(world.spawner.events).toEqual(["a up", "b up", "c up"])
          const changed: Configuration = {
            ...configuration,
            supervisors: [
              { path: "root/s", strategy: "one_for_all", maxRestarts: 0, withinMs: 9 },
              { path: "root/s/n" },
            ],
          }
          yield* during(startConfigured(world.runtime, changed))
          const tree = (yield* world.runtime.tree) as SupervisorTreeNode
          expect(tree.children).toMatchObject([
            { path: "root/s", strategy: "one_for_all", maxRestarts: 0, withinMs: 9, status: "running" },
          ])
          expect(world.spawner.events.length).toBe(3)
        }),
    ),
  )
})

describe("the sessions of a file", () => {
  it.effect("are seen to, each one, also where another cannot be started", () =>
    Effect.gen(function* () {
      const { runtime, asked } = fakeRuntime()
      const names = ["broken", ...Array.from({ length: 40 }, (_, i) => `s${i}`)]
      yield* startConfigured(runtime, {
        ...noConfiguration,
        sessions: names.map((name) => ({ name, command: name === "broken" ? "none" : "cat" })),
      })
      expect(asked.toSorted()).toEqual(names.toSorted())
    }),
  )
})
