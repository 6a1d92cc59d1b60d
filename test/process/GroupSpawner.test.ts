import * as Effect from "effect/Effect"
import { describe, expect, it } from "vitest"
import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import { commandOf, openBench, Recorder } from "./SpawnerBench.ts"

spawnerSuite("group", "")

describe("the fallback says what it is", () => {
  it("a subprocess declares the level group, and guard is refused with ELEVEL", async () => {
    const bench = await openBench("group")
    expect(bench.spawner.containment.level).toBe("group")
    const { subprocess, close } = await bench.start("cat")
    expect(subprocess.containment).toBe("group")
    await close()
    const error = await Effect.runPromise(
      Effect.flip(Effect.scoped(bench.spawner.spawn(commandOf("true", [], { containment: "guard" }), new Recorder()))),
    )
    expect(error).toMatchObject({ errno: "ELEVEL", field: "containment" })
    await bench.close()
  })
})
