import { afterAll, describe, expect, it } from "vitest"
import { findPerlGuard } from "../../src/process/PerlGuard.ts"

// All of Spawn.test.ts once more, where no other guard is to be had than the one in Perl.
const found = findPerlGuard()
const guard = process.env["CRECHE_GUARD"]
process.env["CRECHE_GUARD"] = "/no/such/guard"
afterAll(() => {
  if (guard === undefined) delete process.env["CRECHE_GUARD"]
  else process.env["CRECHE_GUARD"] = guard
})

if (found.found) await import("./Spawn.test.ts")

describe.skipIf(!found.found)(`spawn over the Perl form${found.found ? "" : ` (skipped, ${found.detail})`}`, () => {
  it("says what it is", async () => {
    const { spawn } = await import("../../src/spawn/index.ts")
    expect(spawn.containment).toEqual({ level: "guard", detail: expect.stringContaining("Perl form") })
  })

  it("what the environment tells Perl programs reaches the command, and not the guard", async () => {
    const { spawn } = await import("../../src/spawn/index.ts")
    const env = { PATH: process.env["PATH"], PERL5OPT: "-Mno::such::module", PERL5LIB: "/no/such/place" }
    const child = spawn("env", [], { env })
    let out = ""
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
    await new Promise((resolve) => child.once("close", resolve))
    expect(out.trim().split("\n").toSorted()).toEqual(
      Object.entries(env)
        .map(([name, value]) => `${name}=${value}`)
        .toSorted(),
    )
  })
})
