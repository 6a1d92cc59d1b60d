import { spawnSync } from "node:child_process"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type Session, type SessionSpecInput } from "../../src/index.ts"
import { eventually, isGone } from "./Processes.ts"

interface Program {
  readonly spec: SessionSpecInput & { readonly command: string }
  /** Two prompts and the right answers to them; the second needs what the first left behind, where the program keeps anything. */
  readonly first: readonly [string, string]
  readonly second: readonly [string, string]
  /** What a fresh incarnation answers to the second prompt's check: that nothing of the old one is left. */
  readonly hang: string | undefined
}

const programs: ReadonlyArray<Program> = [
  {
    spec: {
      command: "python3",
      args: ["-i", "-q"],
      env: { PYTHONDONTWRITEBYTECODE: "1" },
      protocol: { type: "text", endOfTurn: { sentinel: { send: "print('§{id}')", expect: "§{id}" } } },
    },
    first: ["x = 6 * 7; print(x)", "42"],
    second: ["print('héllo', x + 1)", "héllo 43"],
    hang: "import time; time.sleep(600)",
  },
  {
    spec: { command: process.execPath, args: ["-i"], protocol: { type: "text", endOfTurn: { prompt: "> $" } } },
    first: ["var x = 6 * 7; x", "42"],
    second: ["x + 1", "43"],
    hang: "while (true) {}",
  },
  {
    spec: {
      command: "bash",
      protocol: { type: "text", endOfTurn: { sentinel: { send: "echo §{id}", expect: "§{id}" } } },
    },
    first: ["x=42; echo $x", "42"],
    second: ["echo $((x + 1)); echo zwei", "43\nzwei"],
    hang: "while :; do sleep 600; done",
  },
  { spec: { command: "cat" }, first: ["42", "42"], second: ["dreiundvierzig ☃", "dreiundvierzig ☃"], hang: undefined },
]

const missing = (command: string): string | undefined =>
  spawnSync(command, ["--version"]).error === undefined ? undefined : `${command} is not installed`

describe("real programs as sessions", () => {
  let runtime: EmbeddedRuntime
  beforeAll(async () => {
    runtime = await openRuntime()
  })
  afterAll(async () => {
    expect((await runtime.close()).survivors).toEqual([])
  })

  for (const { spec, first, second, hang } of programs) {
    const name = spec.command.split("/").at(-1)!
    it(`${name} is asked twice, interrupted, killed, restarted and stopped, and every answer is right`, async (context) => {
      const why = missing(spec.command)
      if (why !== undefined) return context.skip(why)
      const pids = new Set<number>()
      const know = (session: Session) => {
        if (session.pid !== null) pids.add(session.pid)
        return session
      }
      const backoff = { initialMs: 10 }
      know(await runtime.start({ ...spec, name, restart: "permanent", backoff }))
      const says = async ([prompt, answer]: readonly [string, string]) => {
        const turn = await runtime.ask(name, prompt, { timeoutMs: 30_000 })
        expect({ status: turn.status, text: turn.text.trim() }).toEqual({ status: "completed", text: answer })
      }
      await says(first)
      await says(second)

      if (hang !== undefined) {
        // Interrupted: a turn that would take for ever is cancelled, and the next one meets a clean process.
        const hung = await runtime.tell(name, hang)
        await eventually("the turn runs", async () => (await runtime.turn(hung.id)).status === "running")
        expect((await runtime.cancel(name)).status).toBe("cancelled")
        await says(first)
        know(await runtime.get(name))
      }

      // Killed from outside: a crash, survived.
      const before = know(await runtime.get(name))
      process.kill(before.pid!, "SIGKILL")
      await eventually("another incarnation", async () => {
        const now = know(await runtime.get(name))
        return now.incarnation > before.incarnation && now.status === "ready"
      })
      await says(first)
      await says(second)

      const restarted = know(await runtime.restart(name))
      expect(restarted.status).toBe("ready")
      await says(first)

      expect((await runtime.stop(name)).status).toBe("stopped")
      for (const pid of pids) expect(isGone(pid), `pid ${pid} of ${name}`).toBe(true)
      const { entries } = await runtime.transcript(name, { limit: 100_000 })
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1))
      await runtime.remove(name)
    })
  }

  it("python3 survives SIGINT: the turn ends, the interpreter stays", async (context) => {
    const why = missing("python3")
    if (why !== undefined) return context.skip(why)
    const python = programs[0]!
    const started = await runtime.start({ ...python.spec, name: "interrupted" })
    const hung = await runtime.tell("interrupted", "import time; print('sleeping', flush=True); time.sleep(600)")
    await eventually("it sleeps", async () =>
      (await runtime.transcript("interrupted", { turn: hung.id })).entries.some(
        (entry) => entry.type === "turn/delta" && entry.text.includes("sleeping"),
      ),
    )
    await runtime.signal("interrupted", "SIGINT")
    expect((await runtime.wait(hung.id, 30_000)).status).toBe("completed")
    expect((await runtime.ask("interrupted", "print(1 + 1)")).text.trim()).toBe("2")
    expect((await runtime.get("interrupted")).pid).toBe(started.pid)
    await runtime.remove("interrupted")
  })
})
