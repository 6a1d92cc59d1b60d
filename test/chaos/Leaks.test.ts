import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { eventually, isGone, noGuard } from "../acceptance/Processes.ts"
import { bin } from "../acceptance/ServedRuntime.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong, record } from "./ChaosReport.ts"

const mib = 2 ** 20
const restarter = fileURLToPath(new URL("../fixtures/restarter.ts", import.meta.url))

interface Held {
  readonly restarts: number
  readonly descriptors: number
  readonly timers: number
  readonly heapBytes: number
  readonly residentBytes: number
}

const minutes = 60_000

describe.skipIf(noGuard !== undefined)("leaks", () => {
  const restarts = isLong ? 10_000 : 600
  it(
    `after ${restarts} restarts an embedding program holds what it held after a tenth of them`,
    async () => {
      const begun = performance.now()
      const child = spawn(process.execPath, ["--expose-gc", restarter, String(restarts)], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      let out = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text))
      const code = await new Promise((resolve) => child.once("close", resolve))
      expect(code).toBe(0)
      const [early, late] = out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Held)
      console.log(JSON.stringify([early, late]))
      expect(late!.descriptors).toBeLessThanOrEqual(early!.descriptors)
      expect(late!.timers).toBeLessThanOrEqual(early!.timers)
      // Eight transcripts of 16 MiB at most are no leak; what a restart leaves in them is a kilobyte or two.
      expect(late!.heapBytes - early!.heapBytes).toBeLessThan(4 * mib + (late!.restarts - early!.restarts) * 2048)
      record({
        faults: "51",
        title: "restarts in an embedding program",
        injected: { "restart or SIGKILL of a leader": late!.restarts },
        sessions: 8,
        turns: late!.restarts,
        lost: 0,
        survivors: 0,
        zombies: 0,
        descriptors: [early!.descriptors, late!.descriptors],
        memory: [early!.residentBytes, late!.residentBytes],
        seed: null,
        seconds: (performance.now() - begun) / 1000,
      })
    },
    30 * minutes,
  )

  describe("turn after turn", () => {
    let world: ChaosRuntime
    beforeAll(async () => {
      world = await ChaosRuntime.open({ faults: "52", title: "100 turns a second and more", durable: true })
    })
    afterAll(() => world?.discard())
    it(
      "memory and descriptors stay as they are",
      async () => {
        const turns = isLong ? 60_000 : 3_000
        const names = Array.from({ length: 10 }, (_, at) => `turns${at}`)
        for (const name of names) await world.start({ name, command: "cat", limits: { transcriptEntries: 100 } })
        const some = (count: number) =>
          Promise.all(
            names.map(async (name) => {
              for (let at = 0; at < count / names.length; at++) await world.ask(name, `turn ${at}`)
            }),
          )
        await some(turns / 5)
        const early = world.memory
        await some(turns)
        console.log(`${((world.memory - early) / mib).toFixed(1)} MiB more after ${turns} turns`)
        expect(world.memory - early).toBeLessThan(48 * mib)
        await world.finish()
      },
      30 * minutes,
    )
  })

  it("Ctrl-C in a terminal: each child is asked to end once, by the runtime, and nothing is left", async (context) => {
    if (spawnSync("python3", ["--version"]).status !== 0) context.skip("no python3 here, which has the terminal")
    const begun = performance.now()
    const directory = mkdtempSync(join(tmpdir(), "creche-terminal-"))
    const log = join(directory, "signals")
    const socket = join(directory, "s")
    // A terminal with the runtime as its foreground job; a byte on stdin is typed into it.
    const terminal = `
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    import select
    ready, _, _ = select.select([0, fd], [], [])
    if 0 in ready:
        typed = os.read(0, 1)
        if typed: os.write(fd, typed)
    if fd in ready:
        try: out = os.read(fd, 4096)
        except OSError: out = b""
        if not out: break
        os.write(1, out)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
`
    const child = spawn(
      "python3",
      ["-c", terminal, process.execPath, bin, "serve", "--memory", "--data", directory, "--socket", socket],
      { stdio: ["pipe", "pipe", "inherit"] },
    )
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve))
    try {
      let screen = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => (screen += text))
      await eventually("the runtime listens", () => screen.includes("listens on"))
      const { connect } = await import("../../src/client/index.ts")
      const client = await connect({ socket })
      const script = `for s in INT TERM HUP; do trap "echo $s >>'${log}'; [ $s != TERM ] || exit 0" $s; done; while read line; do echo $line; done`
      const pids: Array<number> = []
      for (let at = 0; at < 5; at++) {
        await client.start({ name: `s${at}`, command: "bash", args: ["-c", script] })
        // Its traps are set once it answers.
        await client.request("session/ask", { session: `s${at}`, prompt: "ready?" })
        pids.push((await client.request("session/get", { session: `s${at}` })).pid!)
      }
      await client.close()
      child.stdin.write("\x03")
      expect(await ended).toBe(0)
      expect(pids.filter((pid) => !isGone(pid))).toEqual([])
      const told = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : []
      expect(told).toEqual(Array.from({ length: 5 }, () => "TERM"))
      record({
        faults: "53",
        title: "Ctrl-C in a terminal",
        injected: { "Ctrl-C": 1 },
        sessions: 5,
        turns: 5,
        lost: 0,
        survivors: 0,
        zombies: 0,
        descriptors: null,
        memory: null,
        seed: null,
        seconds: (performance.now() - begun) / 1000,
      })
    } finally {
      child.kill("SIGKILL")
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    }
  })
})
