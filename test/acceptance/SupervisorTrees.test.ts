/** Supervisors over real processes: the order of group restarts and stops, and a runtime that is killed with them. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import type { EmbeddedRuntime, SessionSpecInput } from "../../src/index.ts"
import { within } from "./EmbeddedWorld.ts"
import {
  drawSeed,
  eventually,
  isGone,
  noGuard,
  pidsWithArgument,
  togetherWithEnvironment,
  seeded,
} from "./Processes.ts"
import { ServedRuntime, sessionProcesses } from "./ServedRuntime.ts"

let directory = ""
let list = ""
let files = 0
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-trees-"))
})
afterAll(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))
beforeEach(() => {
  list = join(directory, `list-${++files}`)
  writeFileSync(list, "")
})

const noted = (): ReadonlyArray<string> => readFileSync(list, "utf8").split("\n").filter(Boolean)

/**
 * Notes when it is up, when it is told to end, and when it has ended, which takes it a moment. Its child ignores SIGTERM and
 * outlives it: only then is the session gone.
 */
const member = (name: string): SessionSpecInput => ({
  name,
  command: "sh",
  args: [
    "-c",
    `trap 'echo "${name} told" >> "$0"; sleep 0.05; echo "${name} down" >> "$0"; exit 0' TERM
(trap '' TERM; exec sleep 1000) <&- >&- 2>&- &
echo "${name} up" >> "$0"
printf 'ready> '
while read -r line; do printf '%s\\nready> ' "$line"; done <&0 & wait`,
    list,
  ],
  // Ready is who has noted that it is up.
  protocol: { type: "text", endOfTurn: { prompt: "ready> $" } },
  restart: "permanent",
  backoff: { initialMs: 1, jitter: 0 },
})

const path = "root/s"
const names = ["a", "b", "c", "d"]

const family = async (
  runtime: EmbeddedRuntime,
  strategy: "one_for_all" | "rest_for_one",
): Promise<ReadonlyArray<number>> => {
  await runtime.supervisors.start(path, { strategy })
  const pids: Array<number> = []
  for (const name of names) pids.push((await runtime.start({ ...member(name), supervisor: path })).pid!)
  await eventually("all are up", () => noted().length === names.length)
  writeFileSync(list, "")
  return pids
}

const allReady = async (runtime: EmbeddedRuntime, incarnations: Readonly<Record<string, number>>) =>
  eventually("all are up again", async () => {
    const sessions = await Promise.all(names.map((name) => runtime.get(name)))
    return sessions.every(({ name, status, incarnation }) => status === "ready" && incarnation === incarnations[name])
  })

describe.skipIf(process.platform !== "linux")("real processes below a supervisor", () => {
  it("one_for_all: end in reverse order, each gone before the next is told, and start in order", () =>
    within(async (runtime) => {
      const pids = await family(runtime, "one_for_all")
      process.kill(pids[1]!, "SIGKILL")
      await allReady(runtime, { a: 2, b: 2, c: 2, d: 2 })
      await eventually("all have said so", () => noted().length === 10)
      expect(noted()).toEqual([
        ...["d told", "d down", "c told", "c down", "a told", "a down"],
        ...["a up", "b up", "c up", "d up"],
      ])
      for (const pid of pids) expect(isGone(pid)).toBe(true)
    }))

  it("rest_for_one: those before the one that crashed keep their processes", () =>
    within(async (runtime) => {
      const pids = await family(runtime, "rest_for_one")
      process.kill(pids[2]!, "SIGKILL")
      await allReady(runtime, { a: 1, b: 1, c: 2, d: 2 })
      await eventually("all have said so", () => noted().length === 4)
      expect(noted()).toEqual(["d told", "d down", "c up", "d up"])
      expect((await runtime.get("a")).pid).toBe(pids[0])
    }))

  it("a stop of the supervisor ends them in reverse order, and nothing is left", () =>
    within(async (runtime) => {
      const pids = await family(runtime, "rest_for_one")
      expect(await runtime.supervisors.stop(path)).toEqual({ survivors: [] })
      for (const pid of pids) expect(isGone(pid)).toBe(true)
      expect(pidsWithArgument(list)).toEqual([])
      expect(noted()).toEqual(names.toReversed().flatMap((name) => [`${name} told`, `${name} down`]))
    }))

  it("under random kills there are never two of one, and all are up in the end", () =>
    within(async (runtime) => {
      const random = seeded(drawSeed("supervisor trees"))
      await runtime.supervisors.start(path, { strategy: "one_for_all" })
      await runtime.supervisors.start(`${path}/n`, { strategy: "rest_for_one" })
      const spec = (name: string, supervisor: string): SessionSpecInput => ({
        name,
        supervisor,
        command: "cat",
        restart: "permanent",
        backoff: { initialMs: 1, maxMs: 5 },
        intensity: { maxRestarts: 10_000 },
        env: { WHO: `${list}-${name}` },
      })
      const members = [
        ["a", path],
        ["x", `${path}/n`],
        ["y", `${path}/n`],
        ["b", path],
      ] as const
      for (const [name, supervisor] of members) await runtime.start(spec(name, supervisor))
      const killed = new Set<number | null>()
      for (let round = 0; round < 60; round++) {
        const { pid } = await runtime.get(members[Math.floor(random() * members.length)]![0])
        if (pid !== null) {
          try {
            process.kill(pid, "SIGKILL")
            killed.add(pid)
          } catch {
            // It has just ended.
          }
        }
        const [name] = members[round % members.length]!
        expect(togetherWithEnvironment(`WHO=${list}-${name}\0`).length).toBeLessThan(2)
        if (random() < 0.5) await new Promise((resolve) => setTimeout(resolve, random() * 30))
      }
      await eventually("all answer", async () => {
        const sessions = await Promise.all(members.map(([name]) => runtime.get(name)))
        // One that was killed is ready until its end is seen.
        return sessions.every(({ status, pid }) => status === "ready" && !killed.has(pid))
      })
      const turns = await Promise.all(members.map(([name]) => runtime.ask(name, name, { timeoutMs: 20_000 })))
      expect(turns.map(({ text }) => text)).toEqual(members.map(([name]) => name))
    }))
})

describe.skipIf(process.platform !== "linux")("a served runtime that is killed with supervisors", () => {
  it("has them again, starts their sessions in order, and answers what waited", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const data = mkdtempSync(join(directory, "data-"))
    const runtimes: Array<ServedRuntime> = []
    const up = async () => {
      const served = new ServedRuntime(data)
      runtimes.push(served)
      return { served, client: await served.connect() }
    }
    try {
      const first = await up()
      const { client } = first
      await client.request("supervisor/start", { path, strategy: "rest_for_one", maxRestarts: 9, withinMs: 60_000 })
      await client.request("supervisor/start", { path: "root/gone", maxRestarts: 0, withinMs: 60_000 })
      await client.request("supervisor/start", { path: "root/stopped" })
      for (const name of names) await client.start({ ...member(name), supervisor: path } as never)
      await client.start({ name: "x", supervisor: "root/gone", command: "cat" })
      const { pid } = await client.request("session/get", { session: "x" })
      process.kill(pid!, "SIGKILL")
      await eventually(
        "it gave up",
        async () => (await client.request("session/get", { session: "x" })).status === "failed",
      )
      await client.request("supervisor/stop", { path: "root/stopped" })
      const told = await client.tell({ session: "c", prompt: "hello" })
      await eventually("all are up", () => noted().length === names.length)
      appendFileSync(list, "killed\n")
      await first.served.kill("SIGKILL")
      await client.close()
      await eventually("nothing is left", () => sessionProcesses(first.served).length === 0)

      const second = await up()
      const tree: any = await second.client.request("runtime/tree", {})
      expect(tree.children.map(({ path: at, status }: any) => [at, status])).toEqual([
        [path, "running"],
        ["root/gone", "failed"],
      ])
      expect(tree.children[0]).toMatchObject({ strategy: "rest_for_one", maxRestarts: 9, withinMs: 60_000 })
      await eventually("all are up again", () => noted().filter((line) => line.endsWith("up")).length === 8)
      expect(noted().slice(noted().indexOf("killed") + 1)).toEqual(["a up", "b up", "c up", "d up"])
      const turn = await second.client.request("turn/wait", { turn: told.id })
      expect(["completed", "lost"]).toContain(turn.status)
      expect(await second.client.request("session/get", { session: "x" })).toMatchObject({ status: "failed" })
      await second.client.request("supervisor/start", { path: "root/gone" })
      expect(await second.client.request("session/get", { session: "x" })).toMatchObject({ status: "ready" })
      expect(await second.client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
      await second.client.close()
    } finally {
      for (const { child, ended } of runtimes) {
        child.kill("SIGKILL")
        await ended
      }
    }
    expect(sessionProcesses(...runtimes)).toEqual([])
  })
})
