import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { openRuntime } from "../../src/index.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Runs a program that uses the library, and says how it ended; it is killed after so long (ms). */
const ends = (program: string, deadlineMs: number): Promise<string> =>
  new Promise((resolve) => {
    const args = ["--input-type=module", "-e", program]
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
    const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs)
    child.once("exit", (code, signal) => {
      clearTimeout(timer)
      resolve(String(signal ?? code))
    })
  })

describe("a runtime in one's own process", () => {
  it("tells a reader which entries the limits of the session had dropped before it came", async () => {
    await using runtime = await openRuntime()
    const { id } = await runtime.start({ name: "short", command: "cat", limits: { transcriptEntries: 20 } })
    for (let i = 0; i < 50; i++) await runtime.ask("short", `line ${i}`)
    const { seq } = await runtime.get("short")
    const missed: Array<unknown> = []
    const seen: Array<number> = []
    for await (const entry of runtime.subscribe({ session: "short", after: 3 }, (range) => missed.push(range))) {
      seen.push(entry.seq)
      if (entry.seq === seq) break
    }
    expect(missed).toEqual([{ session: id, after: 3, through: seq - 20 }])
    expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => seq - 19 + index))
  })

  it("lets its program end once it is closed, also with a session that would have expired much later", async () => {
    const program = `
      import * as Effect from "effect/Effect"
      import { runtimeLayer, temporaryDirectory } from "./src/main.ts"
      import { Runtime } from "./src/supervisor/Runtime.ts"
      const use = Effect.gen(function* () {
        const runtime = yield* Runtime
        yield* runtime.start({ name: "a", command: "cat", expiresInMs: 600_000 }, "fail")
        yield* runtime.ask({ session: "a", prompt: "x" })
      })
      const within = (dataDirectory) => Effect.provide(use, runtimeLayer({ dataDirectory, store: "memory" }))
      await Effect.runPromise(Effect.scoped(Effect.flatMap(temporaryDirectory, within)))
    `
    expect(await ends(program, 30_000)).toBe("0")
  })

  it("ends the loop of a reader whose session is removed", async () => {
    await using runtime = await openRuntime()
    await runtime.start({ name: "gone", command: "cat" })
    const types: Array<string> = []
    const reading = (async () => {
      for await (const entry of runtime.subscribe({ session: "gone", after: 0 })) types.push(entry.type)
    })()
    await runtime.ask("gone", "x")
    await runtime.remove("gone")
    await reading
    expect(types).toContain("turn/ended")
    expect(types.at(-1)).toBe("status")
  })
})
