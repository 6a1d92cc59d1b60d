import { chmodSync, readdirSync, readlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { CrecheError, Params } from "../../src/client/index.ts"
import { eventually } from "../acceptance/Processes.ts"
import { ChaosRuntime } from "./ChaosRuntime.ts"
import { isLong } from "./ChaosReport.ts"
import { holdsTrees, levels, refusals } from "./Levels.ts"

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

interface Tree {
  readonly title: string
  /** A shell script; `$0` is the token, which everything that it leaves running has among its arguments. */
  readonly script: string
  /** How many processes carry the token once the tree stands. */
  readonly processes: number
  /** Whether the process group is all of it. */
  readonly inGroup?: boolean
}

const trees: ReadonlyArray<Tree> = [
  {
    title: "SIGTERM is ignored",
    script: `trap '' TERM HUP INT; exec sleep 1000.$0`,
    processes: 1,
    inGroup: true,
  },
  {
    title: "a grandchild in the group ignores SIGTERM",
    script: `(trap '' TERM HUP; exec sleep 1000.$0) & exec sleep 1000.$0`,
    processes: 2,
    inGroup: true,
  },
  {
    title: "a grandchild in a session of its own",
    script: `setsid sleep 1000.$0 & exec sleep 1000.$0`,
    processes: 2,
  },
  {
    title: "a double-forked daemon",
    script: `(setsid sh -c 'trap "" TERM HUP; exec sleep 1000.$0' "$0" & exit 0); exec sleep 1000.$0`,
    processes: 2,
  },
  {
    title: "a daemon with every descriptor closed",
    script: `(setsid sh -c 'exec sleep 1000.$0 <&- >&- 2>&-' "$0" & exit 0); exec sleep 1000.$0`,
    processes: 2,
  },
  {
    title: "a daemon with a wiped environment",
    script: `(setsid env -i sh -c 'exec sleep 1000.$0 <&- >&- 2>&-' "$0" & exit 0); exec sleep 1000.$0`,
    processes: 2,
  },
  {
    title: "a hydra whose heads grow again",
    script: `exec sh '${fixture("hydra.sh")}' "$0"`,
    processes: 9,
  },
  {
    title: "a tree of 31 processes in many sessions",
    script: `exec sh '${fixture("process-tree.sh")}' "$0"`,
    processes: 31,
  },
  {
    title: "a child that is stopped with SIGSTOP",
    script: `sleep 1000.$0 & kill -STOP $!; kill -STOP $$; exec sleep 1000.$0`,
    processes: 1,
    inGroup: true,
  },
]

const inherited = (fd: string): string | undefined => {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return undefined
  }
}

const copies = isLong ? 20 : 3
const refusal = refusals()

for (const level of levels)
  describe(`process trees under level ${level}`, () => {
    let world: ChaosRuntime
    beforeAll(async () => {
      if (refusal(level) === undefined)
        world = await ChaosRuntime.open({ faults: "1–13", title: `process trees, level ${level}` })
    })
    afterAll(() => world?.discard())
    const test = (title: string, run: () => Promise<void>) =>
      it(`${title} (${level})`, async (context) => {
        const why = refusal(level)
        if (why !== undefined) context.skip(why)
        await run()
      })

    const startAs = (name: string, script: string, more: Partial<Params<"session/start">> = {}) =>
      world.start({
        name,
        command: "sh",
        args: ["-c", script, world.token],
        containment: level,
        restart: "temporary",
        shutdown: { signal: "SIGTERM", graceMs: 100 },
        ...more,
      })
    const standing = (processes: number) =>
      eventually(`${processes} processes stand`, () => world.hostile().length >= processes)

    for (const { title, script, processes, inGroup = false } of trees) {
      if (!holdsTrees(level) && !inGroup) continue
      test(`${title}: gone when stop answers`, async () => {
        const names = Array.from({ length: copies }, (_, at) => `tree${at}`)
        await Promise.all(names.map((name) => startAs(name, script)))
        world.inject(title, copies)
        await standing(processes * copies)
        const [first, ...rest] = names
        await Promise.all(rest.map((session) => world.client.request("session/stop", { session })))
        await world.client.request("session/stop", { session: first!, mode: "kill" })
        // Not eventually: it was said that they are gone.
        expect(world.hostile()).toEqual([])
      })
      test(`${title}: gone with its session when somebody kills the leader`, async () => {
        const { pid } = await startAs("beheaded", script)
        await standing(processes)
        process.kill(pid!, "SIGKILL")
        world.inject("SIGKILL of a leader")
        await eventually("the session ended", async () => {
          const { status } = await world.client.request("session/get", { session: "beheaded" })
          return status === "stopped"
        })
        expect(world.hostile()).toEqual([])
      })
    }

    test("an orphan that holds stdout after its leader's exit does not hold the stop up", async () => {
      // The leader is gone, its output is not at its end.
      const script = holdsTrees(level) ? `setsid sleep 1000.$0 & exit 0` : `sleep 1000.$0 & exit 0`
      await startAs("held", script)
      world.inject("stdout held by an orphan")
      await world.client.request("session/stop", { session: "held" })
      expect(world.hostile()).toEqual([])
    })

    test("a group whose leader left it behind ends with the session", async () => {
      await startAs("left", `sleep 1000.$0 & sleep 1000.$0 & sleep 0.05; exit 3`)
      world.inject("group outlives its leader")
      await eventually("the session ended", async () => {
        const { status } = await world.client.request("session/get", { session: "left" })
        return status === "stopped" || status === "failed"
      })
      expect(world.hostile()).toEqual([])
    })

    test("no child has a descriptor of the runtime, its guard or another session", async () => {
      const pids: Array<number> = []
      for (let at = 0; at < copies; at++) {
        const { pid } = await startAs(`fds${at}`, `exec sleep 1000.$0`)
        pids.push(pid!)
      }
      world.inject("look for inherited descriptors", copies)
      const opened = (pid: number) =>
        readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
          try {
            return [[fd, readlinkSync(`/proc/${pid}/fd/${fd}`)] as const]
          } catch {
            // The loader of the program has just closed it.
            return []
          }
        })
      const own = ["0", "1", "2"]
      const strange = (pid: number) =>
        // Without a guard, what somebody left open for this test is passed on by Node.
        opened(pid).filter(([fd, target]) => !own.includes(fd) && (holdsTrees(level) || inherited(fd) !== target))
      const streams = new Set<string>()
      for (const pid of pids) {
        // While a program starts its loader opens libraries; what was inherited would stay.
        await eventually(`${pid} has its streams alone`, () => strange(pid).length === 0)
        for (const [fd, target] of opened(pid)) if (own.includes(fd)) streams.add(target)
      }
      // Each stream of each child is one of its own.
      expect(streams.size).toBe(3 * copies)
      for (let at = 0; at < copies; at++) await world.client.request("session/stop", { session: `fds${at}` })
      expect(world.hostile()).toEqual([])
    })

    test("a command that cannot start is named, and leaves nothing", async () => {
      const file = join(world.directory, "no-program")
      writeFileSync(file, "\0\0\0\0", { mode: 0o755 })
      chmodSync(file, 0o755)
      const plain = join(world.directory, "plain")
      writeFileSync(plain, "text", { mode: 0o644 })
      const failures: ReadonlyArray<readonly [string, string, Partial<Params<"session/start">>]> = [
        ["ENOENT", "command", { command: "/no/such/program" }],
        ["ENOENT", "command", { command: "no-such-program-anywhere" }],
        ["EACCES", "command", { command: plain }],
        ["ENOTDIR", "command", { command: `${plain}/x` }],
        ["ENOEXEC", "command", { command: file }],
        ["ENOENT", "cwd", { command: "cat", cwd: "/no/such/directory" }],
        ["ENOTDIR", "cwd", { command: "cat", cwd: plain }],
        ["E2BIG", "args", { command: "cat", args: ["x".repeat(3_000_000)] }],
      ]
      for (const [errno, field, spec] of failures) {
        // Without a guard it is the C library that looks for the program, and it hands what it cannot run to a shell.
        if (errno === "ENOEXEC" && !holdsTrees(level)) continue
        const failure = await world.client.start({ ...spec, name: "bad", containment: level }).then(
          () => expect.unreachable(`${errno} of ${field} started`),
          (error: unknown) => error as CrecheError,
        )
        expect([failure.tag, failure.data["errno"], failure.data["field"]]).toEqual(["SpawnFailed", errno, field])
        world.inject(`spawn fails with ${errno}`)
      }
      const { sessions } = await world.client.request("session/list", {})
      expect(sessions.map(({ name }) => name)).not.toContain("bad")
    })

    test("nothing is left of any of them", () => world.finish())
  })
