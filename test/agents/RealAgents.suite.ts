/** The same scenes for every real CLI, against a mock of its model's API. `run.ts` runs it, without a network. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, type TestContext } from "vitest"
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { openRuntime, type EmbeddedRuntime, type Turn } from "../../src/index.ts"
import { eventually, isGone, pidsWithArgument } from "../acceptance/Processes.ts"
import { markedProcesses, ServedRuntime } from "../acceptance/ServedRuntime.ts"
import type { Place } from "./Agent.ts"
import { agents } from "./Agents.ts"
import { directoryOf, isInstalled } from "./install.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>

const patience = { timeoutMs: 60_000 }

describe.each(agents.filter(({ name, isByName }) => (wanted === null ? isByName !== true : wanted.includes(name))))(
  "$name",
  (agent) => {
    const why =
      missing[agent.name] ?? (isInstalled(agent) ? undefined : "it is not installed; npm run test:agents does")
    let root: string
    let cwd: string
    let mock: ChildProcess
    let place: Place
    let runtime: EmbeddedRuntime
    let count = 0
    let name: string

    beforeAll(async () => {
      if (why !== undefined) return
      // Not below /tmp: one of the sandboxes is lax or strict there in ways of its own.
      root = mkdtempSync(join(process.env["CRECHE_AGENTS_WORK"] ?? tmpdir(), "creche-agents-"))
      cwd = join(root, "work")
      const home = join(root, "home")
      for (const directory of [cwd, home]) mkdirSync(directory)
      // A process of its own: it keeps its time whatever creche does.
      mock = spawn(process.execPath, [fileURLToPath(agent.mock)], { stdio: ["ignore", "pipe", "inherit"] })
      const [url] = (await once(createInterface({ input: mock.stdout! }), "line")) as [string]
      place = { directory: directoryOf(agent), home, url }
      runtime = await openRuntime({ dataDirectory: join(root, "data") })
    })
    afterAll(async () => {
      if (why !== undefined) return
      const { survivors } = await runtime.close()
      mock.kill()
      rmSync(root, { recursive: true, force: true, maxRetries: 5 })
      expect(survivors).toEqual([])
    })
    beforeEach(() => {
      name = `s${++count}`
    })
    afterEach(async () => {
      if (why !== undefined) return
      for (const session of (await runtime.list()).sessions) await runtime.remove(session.name)
    })

    const test: (title: string, run: (context: TestContext) => Promise<void>) => void = it
    const scene = (title: string, play: (context: TestContext) => Promise<void>) =>
      test(title, async (context) => {
        const reason = why ?? agent.cannot[title]
        return reason === undefined ? await play(context) : context.skip(reason)
      })

    const spec = (fields: SessionSpecInput = {}): SessionSpecInput => ({ name, cwd, ...agent.spec(place), ...fields })
    const start = (fields: SessionSpecInput = {}) => runtime.start(spec(fields))
    const ask = (prompt: string, session = name): Promise<Turn> => runtime.ask(session, prompt, patience)

    const deltasOf = async (turn: Turn["id"]): Promise<ReadonlyArray<string>> => {
      const { entries } = await runtime.transcript(name, { turn, types: ["turn/delta"], limit: 1000 })
      return entries.map((entry) => (entry.type === "turn/delta" ? entry.text : ""))
    }
    /** A turn that is in the middle of its answer. */
    const talking = async (): Promise<Turn> => {
      const turn = await runtime.tell(name, "count 1000 20")
      await eventually("it answers", async () => (await deltasOf(turn.id)).length > 3)
      return turn
    }
    const request = async () => {
      await eventually("it asks", async () => (await runtime.get(name)).pendingRequests.length > 0)
      return (await runtime.get(name)).pendingRequests[0]!
    }
    const outcomes = async (): Promise<ReadonlyArray<readonly [string, string]>> => {
      const { entries } = await runtime.transcript(name, { types: ["permission/resolved"] })
      return entries.flatMap((entry) =>
        entry.type === "permission/resolved" ? [[entry.outcome, entry.by] as const] : [],
      )
    }

    scene("answers three turns in one process, and remembers", async () => {
      const { pid } = await start()
      expect(await ask("the first")).toMatchObject({ status: "completed", text: "heard: the first", error: null })
      expect(await ask("the second")).toMatchObject({ status: "completed", text: "heard: the second" })
      const third = await ask("recall")
      expect(third).toMatchObject({ status: "completed", text: "the first | the second | recall" })
      expect(third.usage?.["outputTokens"]).toBeGreaterThan(0)
      expect(await runtime.get(name)).toMatchObject({ pid, incarnation: 1, status: "ready" })
    })

    scene("streams its answer in order", async () => {
      await start()
      const numbers = Array.from({ length: 40 }, (_, at) => `${at + 1} `).join("")
      const turn = await ask("count 40 10")
      const deltas = await deltasOf(turn.id)
      expect(deltas.join("")).toBe(numbers)
      expect(turn.text.trim()).toBe(numbers.trim())
      expect(deltas.length).toBeGreaterThan(5)
    })

    scene("is interrupted in the middle of an answer, and answers again", async () => {
      const { pid } = await start()
      await ask("before")
      const turn = await talking()
      expect(await runtime.cancel(name)).toMatchObject({ id: turn.id })
      expect(await runtime.wait(turn.id, 20_000)).toMatchObject({ status: "cancelled" })
      expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
      expect((await runtime.get(name)).pid).toBe(pid)
    })

    scene("is interrupted as soon as it was asked, and answers again", async () => {
      await start()
      await ask("before")
      for (let round = 0; round < 5; round++) {
        const turn = await runtime.tell(name, "count 1000 20")
        await runtime.cancel(name)
        expect(await runtime.wait(turn.id, 20_000)).toMatchObject({ status: "cancelled" })
        expect(await ask(`after ${round}`)).toMatchObject({ status: "completed", text: `heard: after ${round}` })
      }
    })

    scene("keeps apart what it says on its own, over background work that ended", async (context) => {
      if (agent.runsAside === undefined) return context.skip("it has no background work of its own")
      await start({ permissions: { default: "allow" } })
      for (let round = 0; round < 3; round++) {
        expect((await ask(agent.runsAside(`sleep 0.${3 + round}`))).status).toBe("completed")
        // Before, while and after it speaks on its own.
        for (let at = 0; at < 6; at++) {
          expect(await ask(`meanwhile ${at}`)).toMatchObject({ status: "completed", text: `heard: meanwhile ${at}` })
        }
      }
      await eventually("it spoke on its own", async () => {
        const { entries } = await runtime.transcript(name, { types: ["native"], limit: 1000 })
        return JSON.stringify(entries).includes("a task has ended")
      })
    })

    scene("ends a turn that the model's API refuses as failed, and answers again", async () => {
      await start()
      expect(await ask("fail 400")).toMatchObject({ status: "failed", error: { tag: expect.any(String) } })
      expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
    })

    scene("thinks aloud", async () => {
      await start()
      const turn = await ask("think of numbers")
      const { entries } = await runtime.transcript(name, { turn: turn.id, types: ["turn/thought"] })
      expect(entries.map((entry) => (entry.type === "turn/thought" ? entry.text : "")).join("")).toMatch(
        /^(\*\*\*\*\n)?of numbers$/,
      )
      expect(turn.text).toBe("thought it over")
    })

    scene("runs a tool that is allowed", async () => {
      await start()
      const file = join(cwd, `${name}-allowed`)
      const turn = await runtime.tell(name, agent.asksToRun(`touch ${file}`))
      const { request: id, tool, options } = await request()
      expect(tool).not.toBe("")
      expect(options.map(({ kind }) => kind)).toEqual(expect.arrayContaining(["allow_once", "reject_once"]))
      expect(existsSync(file)).toBe(false)
      await runtime.answer(name, id, "allow")
      expect(await runtime.wait(turn.id, 30_000)).toMatchObject({ status: "completed" })
      expect(existsSync(file)).toBe(true)
      const { entries } = await runtime.transcript(name, { turn: turn.id, types: ["turn/tool"] })
      const states = entries.flatMap((entry) => (entry.type === "turn/tool" ? [entry.status] : []))
      expect(states.at(-1)).toBe("completed")
      expect((await runtime.get(name)).pendingRequests).toEqual([])
    })

    scene("does not run a tool that is denied, and answers again", async () => {
      await start()
      const file = join(cwd, `${name}-denied`)
      const turn = await runtime.tell(name, agent.asksToRun(`touch ${file}`))
      await runtime.answer(name, (await request()).request, "deny")
      expect((await runtime.wait(turn.id, 30_000)).endedAt).not.toBeNull()
      expect(existsSync(file)).toBe(false)
      expect((await outcomes()).map(([, by]) => by)).toEqual(["client"])
      expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
    })

    scene("does not run a tool that nobody answered for in time, and answers again", async () => {
      await start({ permissions: { timeoutMs: 300 } })
      const file = join(cwd, `${name}-late`)
      expect((await ask(agent.asksToRun(`touch ${file}`))).endedAt).not.toBeNull()
      expect(existsSync(file)).toBe(false)
      expect((await outcomes()).map(([, by]) => by)).toEqual(["timeout"])
      expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
    })

    scene("is interrupted while it waits for leave, and answers again", async () => {
      await start()
      const turn = await runtime.tell(name, agent.asksToRun("true"))
      await request()
      await runtime.cancel(name)
      expect(await runtime.wait(turn.id, 20_000)).toMatchObject({ status: "cancelled" })
      expect((await runtime.get(name)).pendingRequests).toEqual([])
      expect(await ask("after")).toMatchObject({ status: "completed", text: "heard: after" })
    })

    scene("remembers after its process was killed in the middle of an answer", async () => {
      const { pid } = await start()
      await ask("the first")
      const turn = await talking()
      process.kill(pid!, "SIGKILL")
      expect(await runtime.wait(turn.id, 30_000)).toMatchObject({ status: "failed" })
      const { text } = await ask("recall")
      expect(text).toMatch(/^the first \| .*recall$/)
      expect(await runtime.get(name)).toMatchObject({ incarnation: 2, restarts: 1 })
    })

    scene("remembers after it was suspended and woken", async () => {
      const { agentSessionId } = (await start(), await ask("the first"), await runtime.get(name))
      expect(agentSessionId).not.toBeNull()
      expect(await runtime.suspend(name)).toMatchObject({ status: "suspended", pid: null, agentSessionId })
      expect((await ask("recall")).text).toBe("the first | recall")
      expect(await runtime.get(name)).toMatchObject({ agentSessionId, incarnation: 2 })
    })

    scene(
      "has a file written by creche, within its directory and with leave where a rule wants it",
      async (context) => {
        if (agent.writes === undefined) return context.skip("it writes its files by itself")
        await start({
          permissions: { default: "allow", rules: [{ tool: "fs/write*", input: { path: "*.ask" }, decision: "ask" }] },
        })
        const written = async () => {
          const { entries } = await runtime.transcript(name, { types: ["turn/tool"], limit: 1000 })
          return entries.flatMap((entry) =>
            entry.type === "turn/tool" && entry.name === "fs/write_text_file" ? [entry.status] : [],
          )
        }
        // One of the agents can only replace files: of one that is missing its own library hides the reason from it.
        const [file, asked] = ["txt", "ask"].map((ending) => join(cwd, `${name}.${ending}`)) as [string, string]
        for (const each of [file, asked]) writeFileSync(each, "before")
        expect(await ask(agent.writes(file, "by the host"))).toMatchObject({ status: "completed", error: null })
        expect([readFileSync(file, "utf8"), await written()]).toEqual(["by the host", ["completed"]])
        const turn = await runtime.tell(name, agent.writes(asked, "with leave"))
        const { request: id, tool } = await request()
        expect(tool).toBe("fs/write_text_file")
        await runtime.answer(name, id, "allow")
        expect((await runtime.wait(turn.id, 30_000)).status).toBe("completed")
        expect(readFileSync(asked, "utf8")).toBe("with leave")
      },
    )

    scene(
      "goes on in a new conversation, and says so, where it was killed before its first was kept",
      async (context) => {
        if (agent.name !== "claude") return context.skip("it keeps a conversation from its first word on")
        const { pid } = await start()
        const turn = await runtime.tell(name, "hang")
        await eventually(
          "it begins",
          async () => (await runtime.transcript(name, { turn: turn.id })).entries.length > 2,
        )
        process.kill(pid!, "SIGKILL")
        expect(await runtime.wait(turn.id, 30_000)).toMatchObject({ status: "failed" })
        expect((await ask("recall")).text).toBe("recall")
        const { agentSessionId, incarnation } = await runtime.get(name)
        expect([typeof agentSessionId, incarnation]).toEqual(["string", 2])
        const { entries } = await runtime.transcript(name, { types: ["note"] })
        expect(entries.map((entry) => (entry.type === "note" ? entry.text : ""))).toEqual([
          `a new conversation begins: ${agentSessionId}`,
        ])
      },
    )

    scene("is told its system prompt, in every process of it", async () => {
      await start({
        protocol: { type: agent.protocol, systemPrompt: 'You love "marmalade".' },
      })
      expect((await ask("instructed marmalade")).text).toBe("yes")
      expect((await ask("instructed herring")).text).toBe("no")
      await runtime.suspend(name)
      expect((await ask("instructed marmalade")).text).toBe("yes")
      await runtime.remove(name)
      await start()
      expect((await ask("instructed marmalade")).text).toBe("no")
    })

    scene("waits for somebody to log in where it has no account", async (context) => {
      if (agent.anonymous === undefined) return context.skip("it says nothing of accounts before it is asked something")
      const waits = await runtime.start(spec(agent.anonymous(place)))
      expect(waits.status).toBe("authenticating")
      // Nobody is there to go through with it, nor is a network: it is told how it would be done.
      expect((await runtime.authenticate(name, "chatgpt")).status).toBe("authenticating")
      const { entries } = await runtime.transcript(name, { types: ["note"] })
      expect(JSON.stringify(entries)).toContain("open https://")
      expect((await runtime.stop(name)).status).toBe("stopped")
    })

    scene("is forked, and the two go their own ways", async () => {
      await start()
      await ask("the first")
      const fork = await runtime.fork(name, `${name}-fork`)
      expect((await ask("only here", fork.name)).text).toBe("heard: only here")
      expect((await ask("recall", fork.name)).text).toBe("the first | only here | recall")
      expect((await ask("recall")).text).toBe("the first | recall")
      const [a, b] = [await runtime.get(name), await runtime.get(fork.name)]
      expect(b.agentSessionId).not.toBeNull()
      expect(b.agentSessionId).not.toBe(a.agentSessionId)
    })

    scene("leaves no process when it is stopped while a tool runs", async () => {
      const { pid } = await start({ permissions: { default: "allow" } })
      const mark = `31.${process.pid}${count}`
      const turn = await runtime.tell(name, agent.asksToRun(`setsid sleep ${mark} & sleep ${mark}; touch x`))
      const running = () => pidsWithArgument(`sleep\0${mark}`)
      await eventually("the tool runs, and what it moved into a session of its own", () => running().length >= 2)
      await runtime.stop(name)
      expect(running()).toEqual([])
      expect(isGone(pid!)).toBe(true)
      expect((await runtime.turn(turn.id)).endedAt).not.toBeNull()
    })

    scene("remembers after creche was killed in the middle of an answer", async () => {
      const data = join(root, `served-${name}`)
      mkdirSync(data)
      const runtimes: Array<ServedRuntime> = []
      const up = async () => {
        const served = new ServedRuntime(data)
        runtimes.push(served)
        return { served, client: await served.connect() }
      }
      try {
        const first = await up()
        await first.client.start(spec() as Parameters<typeof first.client.start>[0])
        expect(await first.client.ask({ session: name, prompt: "the first" })).toMatchObject({ status: "completed" })
        const turn = await first.client.tell({ session: name, prompt: "count 1000 20" })
        const deltas = async () =>
          await first.client.request("session/transcript", { session: name, turn: turn.id, types: ["turn/delta"] })
        await eventually("it answers", async () => (await deltas()).entries.length > 3)
        await first.served.kill("SIGKILL")
        await first.client.close()
        await eventually("nothing is left", () => markedProcesses(first.served).length === 0)

        const second = await up()
        expect((await second.client.ask({ session: name, prompt: "recall" })).text).toMatch(/^the first \| .*recall$/)
        expect(await second.client.request("turn/get", { turn: turn.id })).toMatchObject({ status: "lost" })
        await second.client.request("runtime/shutdown", {})
        await second.client.close()
      } finally {
        for (const { child, ended } of runtimes) {
          child.kill("SIGKILL")
          await ended
        }
      }
      expect(markedProcesses(...runtimes)).toEqual([])
    })

    scene("costs little more per turn than by hand", async (context) => {
      if (agent.byHand === undefined) return context.skip("nobody drives it by hand")
      const program = fileURLToPath(new URL("overhead.ts", import.meta.url))
      const args = [
        program,
        agent.name,
        join(root, `overhead-${name}`),
        place.url,
        process.env["CRECHE_AGENTS_SECONDS"] ?? "4",
      ]
      const { stdout } = await promisify(execFile)(process.execPath, args)
      console.log(stdout.trim())
      const figures = [...stdout.matchAll(/: ([\d.]+) ms by hand, ([\d.]+) ms in creche/g)]
      expect(figures).toHaveLength(2)
      // A bound for a busy machine; what is printed is the figure.
      for (const [, by, own] of figures) expect(Number(own) / Number(by)).toBeLessThan(3)
    })
  },
)
