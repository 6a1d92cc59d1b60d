/** `--init`: a guard above the runtime. Who is killed, and how, what the terminal sends, and what is left: nothing. */
import { spawn, spawnSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { connect } from "../../src/client/index.ts"
import { descendantsOf, noGuard } from "../acceptance/Processes.ts"
import { fixture, freshToken, pidsWith, stateOf } from "../process/SpawnerBench.ts"
import { bin, Home, until } from "./Cli.ts"

const long = process.env["CHAOS"] === "long"

const commOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "latin1").trim()
  } catch {
    return ""
  }
}
const signalAll = (pids: ReadonlyArray<number>, name: NodeJS.Signals) => {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {
      // It is gone.
    }
  }
}

let home: Home
let token: string
beforeEach(() => {
  home = new Home()
  token = freshToken()
})
afterEach(async () => {
  await home.dispose()
  signalAll(pidsWith(token), "SIGKILL")
})

describe("--init without a guard", () => {
  const env = { CRECHE_GUARD: "/no/such/guard" }

  it("is refused by name, by every command that has it", async () => {
    for (const args of [["serve"], ["stdio"], ["mcp", "--embedded"]]) {
      const outcome = await home.run([...args, "--init"], { env })
      expect(outcome).toMatchObject({ code: 1, stdout: "" })
      expect(outcome.stderr).toMatch(/--init: .*\/no\/such\/guard/)
    }
    const { stderr } = await home.run(["serve", "--init", "--json"], { env })
    expect(JSON.parse(stderr)).toMatchObject({ error: { tag: "Unsupported", what: "--init" } })
  })

  it("mcp without a runtime of its own has nothing to guard: wrong usage", async () => {
    expect(await home.run(["mcp", "--init"])).toMatchObject({ code: 2, stdout: "" })
  })
})

describe.skipIf(noGuard !== undefined)(
  `the guard above a runtime${noGuard === undefined ? "" : ` (${noGuard})`}`,
  () => {
    const inside = (front: number) => {
      const below = descendantsOf(front).map(({ pid }) => pid)
      const runtime = below.find((pid) => /^(node|MainThread)/.test(commOf(pid)))!
      const server = below.find((pid) => commOf(pid) === "guard")!
      const named = (name: string) => below.filter((pid) => commOf(pid) === name)
      return {
        below,
        runtime,
        server,
        keeper: named("creche-keeper")[0]!,
        guards: named("creche-session"),
        spares: named("creche-spare"),
      }
    }
    /** Five processes that ignore SIGTERM: setsid, daemons, one with no environment. */
    const hostile = async () => {
      const scratch = join(home.directory, "tree")
      mkdirSync(scratch)
      const start = [
        "start",
        "hostile",
        "--restart",
        "temporary",
        "--grace-ms",
        "50",
        "--",
        "sh",
        fixture("hostile-tree.sh"),
        scratch,
        token,
      ]
      expect((await home.run(start)).code).toBe(0)
      await until("five", () => pidsWith(token).length === 5)
      return scratch
    }

    it("has the pid that was started, passes SIGTERM on once, and ends as the runtime does: 0, with nothing left", async () => {
      const serving = await home.serve("--init", "--demo")
      const front = serving.child.pid!
      expect(commOf(front)).toBe("creche-guard")
      const { runtime, keeper } = inside(front)
      expect([runtime, keeper].map(commOf)).toEqual([expect.stringMatching(/node|MainThread/), "creche-keeper"])
      expect(readFileSync(`/proc/${runtime}/cmdline`, "latin1")).not.toContain("--init")
      await hostile()
      serving.child.kill("SIGTERM")
      expect(await serving.ended).toMatchObject({ code: 0, signal: null })
      expect(pidsWith(token)).toEqual([])
      expect(pidsWith(home.directory)).toEqual([])
      expect(readdirSync(home.data).filter((name) => name.startsWith("spawn-"))).toEqual([])
    })

    it("passes the exit code of a runtime on that cannot start", async () => {
      await home.serve()
      const second = await home.run(["serve", "--init"])
      expect(second).toMatchObject({ code: 1, stdout: "" })
      expect(second.stderr.match(/creche serve: /g)).toHaveLength(1)
    })

    it("ends by the signal that killed the runtime, after its tree", async () => {
      const serving = await home.serve("--init")
      await hostile()
      process.kill(inside(serving.child.pid!).runtime, "SIGKILL")
      expect(await serving.ended).toMatchObject({ code: null, signal: "SIGKILL" })
      expect(pidsWith(token)).toEqual([])
      expect(pidsWith(home.data)).toEqual([])
    })

    it("runtime, spawn server and every guard killed together: the daemons are adopted, ended and reaped", async () => {
      const serving = await home.serve("--init")
      await hostile()
      const { runtime, server, guards, spares } = inside(serving.child.pid!)
      const helpers = [runtime, server, ...guards, ...spares]
      // Stopped first, so that none of them does anything about the end of another.
      signalAll(helpers, "SIGSTOP")
      signalAll(helpers, "SIGKILL")
      expect(await serving.ended).toMatchObject({ signal: "SIGKILL" })
      expect(pidsWith(token)).toEqual([])
    })

    it("the runtime and its spawn server killed together: nothing is left", async () => {
      const serving = await home.serve("--init")
      await hostile()
      const { runtime, server } = inside(serving.child.pid!)
      signalAll([runtime, server], "SIGKILL")
      expect(await serving.ended).toMatchObject({ signal: "SIGKILL" })
      expect(pidsWith(token)).toEqual([])
      expect(pidsWith(home.data)).toEqual([])
    })

    it.each(["front", "keeper"] as const)(
      "its own %s killed: the runtime and its sessions end with it",
      async (which) => {
        const serving = await home.serve("--init")
        await hostile()
        process.kill(which === "front" ? serving.child.pid! : inside(serving.child.pid!).keeper, "SIGKILL")
        await serving.ended
        await until("nothing is left", () => pidsWith(token).length === 0 && pidsWith(home.data).length === 0)
      },
    )

    it("guards whose server was killed go on below it, and the tree of one that is killed then is ended, daemons too", async () => {
      const serving = await home.serve("--init")
      await hostile()
      await home.run(["start", "echo", "--", "cat"])
      const before = inside(serving.child.pid!)
      process.kill(before.server, "SIGKILL")
      await until("the keeper has them", () =>
        before.guards.every((guard) =>
          readFileSync(`/proc/${guard}/status`, "latin1").includes(`PPid:\t${before.keeper}\n`),
        ),
      )
      expect((await home.run(["ask", "echo", "still"])).stdout).toBe("still\n")
      const leader = Number(readFileSync(join(home.directory, "tree", "leader"), "latin1"))
      const guard = Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${leader}/status`, "latin1"))?.[1])
      process.kill(guard, "SIGKILL")
      await until("the tree is gone", () => pidsWith(token).length === 0)
      expect((await home.run(["ask", "echo", "yes"])).stdout).toBe("yes\n")
      serving.child.kill("SIGTERM")
      expect((await serving.ended).code).toBe(0)
    })

    it("stdio under it is spoken to as ever and ends with its input", async () => {
      const request = { jsonrpc: "2.0", id: 1, method: "runtime/info" }
      const outcome = await home.run(["stdio", "--init"], { input: `${JSON.stringify(request)}\n` })
      expect(outcome.code).toBe(0)
      expect(JSON.parse(outcome.stdout.split("\n")[0]!)).toMatchObject({ id: 1, result: { name: "creche" } })
    })

    const noPython = spawnSync("python3", ["--version"]).status === 0 ? undefined : "there is no python3"
    it("Ctrl-C in a terminal reaches the runtime once: the grace of a session is kept, and nothing is left", async (context) => {
      context.skip(noPython !== undefined, noPython)
      // A terminal of its own; Ctrl-C is typed when a line comes in here.
      const pty = `
import os, pty, sys, threading
pid, fd = pty.fork()
if pid == 0: os.execv(sys.argv[1], sys.argv[1:])
threading.Thread(target=lambda: (sys.stdin.readline(), os.write(fd, b"\\x03")), daemon=True).start()
while True:
  try: os.write(1, os.read(fd, 4096))
  except OSError: break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`
      const terminal = spawn("python3", ["-c", pty, process.execPath, bin, "serve", "--init"], {
        env: { PATH: process.env["PATH"] ?? "", HOME: home.directory, CRECHE_DATA: home.data, TERM: "dumb" },
        stdio: ["pipe", "pipe", "inherit"],
      })
      let out = ""
      terminal.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()))
      await until("it listens", () => out.includes("listens on"))
      // Its polite end takes a moment; a second Ctrl-C would have cut it short.
      const script = `trap 'sleep 0.6; echo kept >${home.directory}/kept; exit 0' TERM; while :; do sleep 0.05 0.${token}; done`
      expect((await home.run(["start", "slow", "--", "sh", "-c", script])).code).toBe(0)
      terminal.stdin.write("\n")
      const code = await new Promise((resolve) => terminal.once("close", resolve))
      expect(code).toBe(0)
      expect(readFileSync(join(home.directory, "kept"), "utf8")).toBe("kept\n")
      expect(pidsWith(token)).toEqual([])
    })

    describe("as PID 1 of a namespace", () => {
      const namespace =
        process.getuid?.() === 0 ? ["--pid", "--fork"] : ["--user", "--map-root-user", "--pid", "--fork"]
      const unshare = ["unshare", ...namespace, "--mount-proc", "--kill-child"]
      const missing =
        spawnSync(unshare[0]!, [...unshare.slice(1), "true"]).status === 0 ? undefined : "unshare may not make one here"

      it(
        `it is there without being asked, and ${long ? 1000 : 150} sessions leave no zombie`,
        async (context) => {
          context.skip(missing !== undefined, missing)
          const serving = home.shell(
            "sh",
            [...unshare, process.execPath, bin, "serve", "--memory"].map((word) => `'${word}'`).join(" "),
          )
          await until("it listens", () => serving.stderr().includes("listens on"))
          const outer = serving.child.pid!
          const everybody = () => {
            const first = descendantsOf(outer).find(({ pid }) => commOf(pid) === "creche-guard")!.pid
            const own = readlinkSync(`/proc/${first}/ns/pid`)
            return readdirSync("/proc")
              .map(Number)
              .filter((pid) => {
                try {
                  return pid > 0 && readlinkSync(`/proc/${pid}/ns/pid`) === own
                } catch {
                  // A zombie shows no namespace: it counts by its parent.
                  return false
                }
              })
          }
          const zombies = () =>
            descendantsOf(outer)
              .filter(({ pid, state }) => state === "Z" && stateOf(pid) === "Z")
              .map(({ pid }) => pid)
          const client = await connect({ socket: home.socket })
          const total = long ? 1000 : 150
          const batch = 25
          for (let n = 0; n < total; n += batch)
            await Promise.all(
              Array.from({ length: batch }, async (_, i) => {
                const name = `s${n + i}`
                // At the level group the orphans are PID 1's to reap: a daemon, and one that called setsid.
                await client.start({
                  name,
                  command: "sh",
                  args: ["-c", "(sleep 0.01 >/dev/null 2>&1 <&- &); (setsid sh -c : &); cat"],
                  containment: i % 2 === 0 ? "group" : "guard",
                  shutdown: "brutal_kill",
                })
                await client.request("session/stop", { session: name })
                await client.request("session/remove", { session: name })
              }),
            )
          await until("no zombie", () => zombies().length === 0)
          // front, keeper, runtime, server, spares
          await until("only those of the runtime", () => everybody().length <= 3 + 1 + 4)
          await client.close()
          const inner = descendantsOf(outer).find(({ pid }) => commOf(pid) === "creche-guard")!.pid
          process.kill(inner, "SIGTERM")
          expect((await serving.ended).code).toBe(0)
        },
        long ? 600_000 : 120_000,
      )

      it("without a guard it says so, and serves all the same: there an orphan stays a zombie", async (context) => {
        context.skip(missing !== undefined, missing)
        const line = [...unshare, process.execPath, bin, "serve", "--memory"].map((word) => `'${word}'`).join(" ")
        const serving = home.shell("sh", line, { CRECHE_GUARD: "/no/such/guard" })
        await until("it listens", () => serving.stderr().includes("listens on"))
        expect(serving.stderr()).toContain("as PID 1 without a guard, orphans stay zombies")
        const client = await connect({ socket: home.socket })
        await client.start({
          name: "orphan",
          command: "sh",
          args: ["-c", "(setsid sh -c : &); cat"],
          containment: "group",
        })
        await until("a zombie", () => descendantsOf(serving.child.pid!).some(({ state }) => state === "Z"))
        await client.close()
        const inner = descendantsOf(serving.child.pid!).find(({ pid }) => /^(node|MainThread)/.test(commOf(pid)))!.pid
        process.kill(inner, "SIGTERM")
        expect((await serving.ended).code).toBe(0)
      })
    })
  },
)
