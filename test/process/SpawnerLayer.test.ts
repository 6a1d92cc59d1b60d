import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { findPerlGuard } from "../../src/process/PerlGuard.ts"
import { layerSpawner, type SpawnerOptions } from "../../src/process/SpawnerLayer.ts"
import { Spawner } from "../../src/process/Subprocess.ts"
import { commandOf, noGuard, noTree, Recorder } from "./SpawnerBench.ts"

describe("the choice of the spawner", () => {
  let directory: string
  const given = { CRECHE_GUARD: process.env["CRECHE_GUARD"], CRECHE_PERL: process.env["CRECHE_PERL"] }
  beforeEach(() => {
    // The Perl form has a suite of its own.
    process.env["CRECHE_PERL"] = "/no/such/perl"
    directory = mkdtempSync(join(tmpdir(), "creche-layer-"))
  })
  afterEach(() => {
    for (const [name, value] of Object.entries(given)) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    rmSync(directory, { recursive: true, force: true })
  })

  const containment = (options: Partial<SpawnerOptions> = {}) =>
    Effect.runPromise(
      Effect.provide(
        Effect.map(Spawner, (spawner) => spawner.containment),
        layerSpawner({ directory, ...options }),
      ),
    )
  const guardThat = (script: string) => {
    const path = join(directory, "some-guard")
    writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    process.env["CRECHE_GUARD"] = path
  }

  it("is the guard where it works", async (context) => {
    context.skip(noTree !== "", noTree)
    expect((await containment()).level).toBe("guard")
  })

  it("is the process group where no guard is to be found, and says why", async () => {
    process.env["CRECHE_GUARD"] = "/no/such/guard"
    expect(await containment()).toMatchObject({ level: "group", detail: expect.stringContaining("/no/such/guard") })
  })

  it("is the Perl form where there is a perl, and says why it is not the other", async (context) => {
    delete process.env["CRECHE_PERL"]
    const found = findPerlGuard()
    context.skip(!found.found, found.found ? "" : found.detail)
    guardThat("exit 3")
    expect(await containment()).toMatchObject({
      level: "guard",
      detail: expect.stringMatching(/Perl form.*exit code 3/),
    })
  })

  it("says of both forms why they are not to be had", async () => {
    process.env["CRECHE_GUARD"] = "/no/such/guard"
    expect((await containment()).detail).toMatch(/\/no\/such\/guard.*\/no\/such\/perl/)
  })

  it("is the process group where the guard ends at once, and says why", async () => {
    guardThat("exit 3")
    expect(await containment()).toMatchObject({ level: "group", detail: expect.stringContaining("exit code 3") })
  })

  it("is the process group where the guard is of another protocol, and says what to do", async () => {
    guardThat("printf '\\0\\0\\0\\0\\1\\0\\0\\0\\143\\0\\0\\0\\1\\0\\0\\0' >&3; exec cat <&4")
    expect(await containment()).toMatchObject({ level: "group", detail: expect.stringContaining("build it anew") })
  })

  it("a guard that is asked for by name and not to be had is a failure", async () => {
    process.env["CRECHE_GUARD"] = "/no/such/guard"
    await expect(containment({ level: "guard" })).rejects.toMatchObject({ errno: "ELEVEL", field: "containment" })
  })

  it("a command that asks for guard is refused where only groups hold", async () => {
    process.env["CRECHE_GUARD"] = "/no/such/guard"
    const failure = Effect.flatMap(Spawner, (spawner) =>
      Effect.flip(Effect.scoped(spawner.spawn(commandOf("true", [], { containment: "guard" }), new Recorder()))),
    )
    expect(await Effect.runPromise(Effect.provide(failure, layerSpawner({ directory })))).toMatchObject({
      errno: "ELEVEL",
      field: "containment",
    })
  })

  it("a command that asks for group gets just that, also beside a guard", async (context) => {
    context.skip(noGuard !== "", noGuard)
    const level = Effect.flatMap(Spawner, (spawner) =>
      Effect.scoped(
        Effect.map(
          spawner.spawn(commandOf("cat", [], { containment: "group", shutdown: "brutal_kill" }), new Recorder()),
          (subprocess) => subprocess.containment,
        ),
      ),
    )
    expect(await Effect.runPromise(Effect.provide(level, layerSpawner({ directory })))).toBe("group")
  })

  it("a missing data directory is made private, and nothing is left in it at the close", async () => {
    const missing = join(directory, "a", "b")
    await containment({ directory: missing })
    expect(statSync(missing).mode & 0o777).toBe(0o700)
    expect(readdirSync(missing)).toEqual([])
  })

  it("what lies in the data directory otherwise is left alone", async () => {
    mkdirSync(join(directory, "sessions"))
    writeFileSync(join(directory, "creche.lock"), "")
    await containment()
    expect(readdirSync(directory).toSorted()).toEqual(["creche.lock", "sessions"])
  })
})
