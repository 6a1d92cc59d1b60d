import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { checkConfiguration, type Configuration } from "../../src/config/Configuration.ts"
import { configuredOptions, noConfiguration, startConfigured } from "../../src/config/ConfiguredRuntime.ts"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { Session } from "../../src/domain/Session.ts"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { Runtime } from "../../src/supervisor/Runtime.ts"
import { defaultOptions } from "../../src/supervisor/RuntimeConfig.ts"

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

/** A runtime that has some sessions already; tells what it was asked. */
const runtimeWith = (there: Readonly<Record<string, Session["status"]>>) => {
  const asked: Array<string> = []
  const session = (name: string, status: Session["status"]) =>
    ({ id: `ses_${name}`, name, status }) as unknown as Session
  const fails = ({ name = "" }: SessionSpecInput) =>
    new SpawnFailed({ command: name, field: "command", errno: "ENOENT", detail: "no such program" })
  const runtime = {
    start: (spec: SessionSpecInput, ifExists: string) =>
      Effect.suspend(() => {
        asked.push(`start ${spec.name} ${ifExists}`)
        if (spec.command === "none") return Effect.fail(fails(spec))
        return Effect.succeed(session(spec.name!, there[spec.name!] ?? "ready"))
      }),
    resume: (id: string) =>
      Effect.suspend(() => {
        asked.push(`resume ${id}`)
        return id === "ses_lost" ? Effect.fail(fails({})) : Effect.succeed(session(id, "ready"))
      }),
  } as unknown as Runtime["Service"]
  return { runtime, asked }
}

describe("the sessions of a file", () => {
  const sessions = (...names: ReadonlyArray<string>) => ({
    ...noConfiguration,
    sessions: names.map((name) => ({ name, command: name === "broken" ? "none" : "cat" })),
  })

  it.effect("are started, or resumed where they are there already and asleep", () =>
    Effect.gen(function* () {
      const { runtime, asked } = runtimeWith({ asleep: "suspended", awake: "busy" })
      yield* startConfigured(runtime, sessions("new", "asleep", "awake"))
      expect(asked.toSorted()).toEqual([
        "resume ses_asleep",
        "start asleep return",
        "start awake return",
        "start new return",
      ])
    }),
  )

  it.effect("that cannot be started or resumed keep no other from it", () =>
    Effect.gen(function* () {
      const { runtime, asked } = runtimeWith({ lost: "suspended", asleep: "suspended" })
      yield* startConfigured(runtime, sessions("broken", "lost", "asleep"))
      expect(asked).toContain("resume ses_asleep")
    }),
  )
})
