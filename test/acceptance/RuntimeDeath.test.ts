import { spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { connect } from "../../src/client/index.ts"
import {
  descendantsOf,
  drawSeed,
  eventually,
  noGuard,
  pidsWithArgument,
  pidsWithEnvironment,
  seeded,
  statOf,
} from "./Processes.ts"

const bin = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url))
const hostileTree = fileURLToPath(new URL("../fixtures/hostile-tree.sh", import.meta.url))
const rounds = 15

describe("kill -9 of the runtime", () => {
  it("at random moments: one second later no descendant is left, the hostile tree included", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const random = seeded(drawSeed("runtime deaths"))
    for (let round = 0; round < rounds; round++) {
      const directory = mkdtempSync(join(tmpdir(), "creche-death-"))
      const socket = join(directory, "s")
      const token = `${process.pid}${round}${Math.floor(random() * 1e6)}`
      const runtime = spawn(process.execPath, [bin, "serve", "--data", directory, "--socket", socket], {
        stdio: ["ignore", "ignore", "ignore"],
      })
      const gone = new Promise((resolve) => runtime.once("exit", resolve))
      try {
        await eventually("the runtime listens", async () => {
          try {
            await (await connect({ socket })).close()
            return true
          } catch {
            return false
          }
        })
        const client = await connect({ socket })
        const env = { CRECHE_TEST: token }
        const starts = Array.from({ length: 8 }, (_, index) => {
          const trees = join(directory, `tree${index}`)
          mkdirSync(trees)
          return client
            .request("session/start", {
              name: `s${index}`,
              env,
              ...(index < 3 ? { command: "sh", args: [hostileTree, trees, token] } : { command: "cat" }),
            })
            .then(() => client.request("session/ask", { session: `s${index}`, prompt: "x" }))
            .catch(() => undefined)
        })
        // In every third round everything is up and busy; in the others the blow falls amid the starts.
        if (round % 3 === 0) {
          await eventually("three hostile trees", () => pidsWithArgument(`1000.${token}`).length >= 15)
        } else await new Promise((resolve) => setTimeout(resolve, random() * 60))
        const descendants = descendantsOf(runtime.pid!)
        runtime.kill("SIGKILL")
        await gone
        await Promise.all(starts)
        await eventually(
          `nothing left in round ${round}`,
          () =>
            pidsWithArgument(token).length === 0 &&
            pidsWithEnvironment(`CRECHE_TEST=${token}`).length === 0 &&
            descendants.every(({ pid, start }) => {
              const now = statOf(pid)
              // What died after the runtime is init's to reap, and some inits take their time.
              return now?.start !== start || (now.state === "Z" && now.parent === 1)
            }),
          1000,
        )
        await client.close().catch(() => undefined)
      } finally {
        runtime.kill("SIGKILL")
        rmSync(directory, { recursive: true, force: true })
      }
    }
    expect(rounds).toBeGreaterThan(10)
  }, 120_000)
})
