/** The demo agent, driven by the ndjson protocol as a session would; every command of its help is asked here. */
import { setTimeout as sleep } from "node:timers/promises"
import { tmpdir } from "node:os"
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { resolveSpec } from "../../src/domain/SessionSpec.ts"
import { demoAgentPath, demoSpec } from "../../src/demo/spec.ts"
import { protocolFor } from "../../src/protocols/ProtocolFor.ts"
import type { Resumption } from "../../src/protocols/Protocol.ts"
import { converse, type Conversation } from "../protocols/Conversation.ts"

let open: Array<Conversation> = []
/** Processes that the agent leaves behind on purpose: ended by the pids that it answered. */
let left: Array<number> = []

const spec = resolveSpec({ name: "demo", command: "", ...demoSpec() })

const start = async (options: Parameters<typeof converse>[3] = {}, from: Resumption | null = null) => {
  const protocol = protocolFor(spec.protocol)
  if (protocol === undefined) throw new Error("the demo's protocol is not spoken")
  const args = from === null ? spec.args : [...spec.args, ...(protocol.args?.({ from, freshId: "" }) ?? [])]
  const agent = converse(protocol, spec.command, args, options, from)
  open.push(agent)
  await agent.ready
  return agent
}

/** Asks for what ends the process in the middle of a turn. */
const lastWords = async (agent: Conversation, prompt: string) => {
  const turn = agent.ask(prompt).catch((error: Error) => error)
  const exit = await agent.exited
  expect(await turn).toBeInstanceOf(Error)
  return exit
}

const until = async (what: string, condition: () => boolean | Promise<boolean>) => {
  for (const deadline = Date.now() + 15_000; !(await condition()); await sleep(5)) {
    if (Date.now() > deadline) throw new Error(`not within 15 s: ${what}`)
  }
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Gone, or a zombie: an orphan's is its new parent's to reap. */
const hasEnded = async (pid: number) => {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "")
  return stat === "" || / Z /.test(stat)
}

const stderrOf = (agent: Conversation) => {
  let text = ""
  agent.child.stderr?.on("data", (chunk: Buffer) => (text += chunk.toString()))
  return () => text
}

afterEach(async () => {
  for (const pid of left) if (isAlive(pid)) process.kill(pid, "SIGKILL")
  left = []
  await Promise.all(open.map((agent) => agent.stop()))
  open = []
})

describe("the demo agent's answers", () => {
  it("quotes what it is told, streams that, and counts its turns", async () => {
    const agent = await start()
    const first = await agent.ask('hello "you"')
    expect(first).toMatchObject({ status: "completed", stopReason: "end_turn" })
    expect(first.text).toContain('You said "hello \\"you\\"". This is turn 1 ')
    expect(first.deltas).toBe(first.text)
    expect(first.usage).toEqual({ turns: 1, inputWords: 2, outputWords: expect.any(Number) })
    expect((await agent.ask([{ type: "text", text: "blocks" }])).text).toContain('"blocks". This is turn 2 ')
  })

  it("points to the help when it does not know a command", async () => {
    const agent = await start()
    expect((await agent.ask("/nope x")).text).toContain("I know no command /nope; /help")
    expect((await agent.ask("/constructor")).text).toContain("I know no command /constructor")
  })

  it("/help names every command, and each is in this file", async () => {
    const agent = await start()
    const { text } = await agent.ask("/help")
    const named = text.match(/(?<=^|, )\/[a-z-]+/gm) ?? []
    expect(named.length).toBeGreaterThan(14)
    const source = await readFile(new URL(import.meta.url), "utf8")
    for (const command of named) expect(source).toMatch(new RegExp(`["\`]${command}[ "\`]`))
  })

  it("/echo, /env, /cwd and /pid tell what they are", async () => {
    const cwd = realpathSync(tmpdir())
    const agent = await start({ env: { DEMO_VALUE: "a b" }, cwd })
    expect(await agent.ask("/echo  two\nlines ")).toMatchObject({ text: "two\nlines ", deltas: "" })
    expect(await agent.ask("/echo")).toMatchObject({ text: "" })
    expect(await agent.ask("/env DEMO_VALUE")).toMatchObject({ text: "a b" })
    expect(await agent.ask("/env DEMO_MISSING")).toMatchObject({ text: "DEMO_MISSING is not set" })
    expect(await agent.ask("/cwd")).toMatchObject({ text: cwd })
    expect(await agent.ask("/pid")).toMatchObject({ text: String(agent.child.pid) })
  })

  it("/slow answers after its time", async () => {
    const agent = await start()
    const from = performance.now()
    expect(await agent.ask("/slow 100 there")).toMatchObject({ text: "there" })
    expect(performance.now() - from).toBeGreaterThan(95)
  })

  it("/stream gives piece by piece what it answers in the end", async () => {
    const agent = await start()
    expect(await agent.ask("/stream 3 la")).toMatchObject({ text: "la la la", deltas: "la la la" })
    expect(agent.events.filter((event) => event.type === "delta")).toHaveLength(3)
    const long = await agent.ask("/stream 5000 la")
    expect(long.text).toBe("la ".repeat(5000).trim())
    expect(long.deltas).toBe(long.text)
  })

  it("/fail and a command used wrongly end the turn with an error", async () => {
    const agent = await start()
    expect(await agent.ask("/fail no way")).toMatchObject({
      status: "failed",
      error: { tag: "AgentError", message: "no way" },
    })
    for (const wrong of ["/slow soon", "/stream", "/flood -1", "/fork 1 loudly", "/fork 101", "/crash now"]) {
      expect((await agent.ask(wrong)).error?.message).toMatch(/^usage: /)
    }
    expect(await agent.ask("/echo alive")).toMatchObject({ text: "alive" })
  })

  it("/stderr writes there and nowhere else", async () => {
    const agent = await start()
    const stderr = stderrOf(agent)
    expect(await agent.ask("/stderr a warning")).toMatchObject({ status: "completed" })
    await until("the warning", () => stderr() === "a warning\n")
    expect(agent.events.filter((event) => event.type === "output")).toEqual([])
  })

  it("/flood writes as many bytes to stdout and to stderr as it is told, then answers", async () => {
    const agent = await start()
    const stderr = stderrOf(agent)
    for (const bytes of [0, 1, 1_000_003]) {
      const [events, errors] = [agent.events.length, stderr().length]
      expect(await agent.ask(`/flood ${bytes}`)).toMatchObject({ status: "completed" })
      const output = agent.events.slice(events).map((event) => (event.type === "output" ? event.data : ""))
      expect(output.join("")).toHaveLength(bytes)
      await until("stderr", () => stderr().length - errors === bytes)
    }
  })

  it("takes a line to its newline and no less, whatever else some count as its end, and however it comes", async () => {
    const agent = await start()
    const odd = "a\u2028b\u2029c\u0085d"
    expect((await agent.ask(`/echo ${odd}`)).text).toBe(odd)
    const bytes = Buffer.from(JSON.stringify({ type: "prompt", prompt: "/echo é💥" }) + "\r\n\n")
    const turn = agent.events.length
    for (const byte of bytes) {
      agent.child.stdin?.write(Buffer.of(byte))
      await sleep(1)
    }
    await until("its answer", () => agent.events.slice(turn).some((event) => JSON.stringify(event).includes("é💥")))
  })

  it("answers the last line also where no newline ends it", async () => {
    const agent = await start()
    agent.child.stdin?.end('{"type":"prompt","prompt":"/exit"}')
    expect(await agent.exited).toMatchObject({ code: 0 })
    expect(JSON.stringify(agent.events)).toContain("goodbye")
  })

  it("answers what it does not understand with an error, in its turn", async () => {
    const agent = await start()
    expect((await agent.ask('{"no":"prompt"}')).error?.message).toContain("I read")
    expect((await agent.ask("[1]")).error?.message).toContain("I read")
    expect(await agent.ask('{"type":"prompt","prompt":"/echo json"}')).toMatchObject({ text: "json" })
  })
})

describe("the demo agent's cancel", () => {
  it("ends the running turn with what was said so far, and the next turn is answered", async () => {
    const agent = await start()
    const turn = agent.ask("/stream 100 la")
    await until("a delta", () => agent.events.some((event) => event.type === "delta"))
    agent.child.stdin?.write('{"type":"cancel"}\n')
    const ended = await turn
    expect(ended).toMatchObject({ status: "cancelled", stopReason: "cancelled" })
    expect(ended.text).toBe(ended.deltas)
    expect(ended.text.length).toBeLessThan(200)
    expect(await agent.ask("/echo next")).toMatchObject({ status: "completed", text: "next" })
  })

  it("cuts a /slow turn short, and is nothing between turns", async () => {
    const agent = await start()
    agent.child.stdin?.write('{"type":"cancel"}\n')
    const turn = agent.ask("/slow 60000 never")
    agent.child.stdin?.write('{"type":"cancel"}\n')
    expect(await turn).toMatchObject({ status: "cancelled", text: "" })
  })
})

describe("the demo agent's memory", () => {
  let data = ""
  beforeEach(() => {
    data = mkdtempSync(join(realpathSync(tmpdir()), "creche-demo-"))
  })
  afterEach(async () => {
    await Promise.all(open.map((agent) => agent.stop()))
    rmSync(data, { recursive: true, force: true })
  })

  /** As a session would start it. */
  const inSession = (session: string, from: Resumption | null = null, cwd = join(data, "sessions", session)) => {
    const temporary = join(data, "tmp", session)
    for (const path of [cwd, temporary]) mkdirSync(path, { recursive: true })
    return start({ cwd, env: { CRECHE_SESSION: session, TMPDIR: temporary } }, from)
  }
  const reported = (agent: Conversation) =>
    agent.events.flatMap((event) => (event.type === "conversation" ? [event.id] : []))
  /** The one id that it has reported by the time of its first answer. */
  const idOf = (agent: Conversation): string => {
    const [id, ...more] = reported(agent)
    expect(more).toEqual([])
    if (id === undefined) throw new Error("it reported no conversation")
    return id
  }
  const textOf = async (agent: Conversation, prompt: string) => (await agent.ask(prompt)).text

  it("/remember keeps a text for /recall, and /history has the prompts before it", async () => {
    const agent = await inSession("ses_1")
    expect(await textOf(agent, "/history")).toBe("")
    expect(await textOf(agent, "/remember colour  deep blue\nor green ")).toBe("I remember colour")
    expect(await textOf(agent, "/recall colour")).toBe("deep blue\nor green ")
    expect(await textOf(agent, "/recall shape")).toBe("I remember nothing of shape")
    expect(await textOf(agent, "/history")).toBe(
      ["/history", "/remember colour  deep blue or green ", "/recall colour", "/recall shape"].join("\n"),
    )
    for (const wrong of ["/remember", "/remember key", "/recall", "/recall two keys"]) {
      expect((await agent.ask(wrong)).error?.message).toMatch(/^usage: /)
    }
  })

  it("survives kill -9, also in the middle of a turn, any number of times, under the same id", async () => {
    let agent = await inSession("ses_1")
    await agent.ask("/remember life 0")
    const id = idOf(agent)
    for (const life of [1, 2, 3]) {
      await lastWords(agent, life === 2 ? "/crash" : "/kill")
      agent = await inSession("ses_1", { conversation: id, fork: false })
      expect(await textOf(agent, "/recall life")).toBe(String(life - 1))
      expect(reported(agent)).toEqual([])
      await agent.ask(`/remember life ${life}`)
    }
    expect((await textOf(agent, "/history")).split("\n").filter((prompt) => /^.(kill|crash)/.test(prompt))).toEqual([
      "/kill",
      "/crash",
      "/kill",
    ])
    expect(readdirSync(join(data, "sessions", "ses_1"))).toHaveLength(1)
  })

  it("is what a fork begins with, in another session, while the first one lives on", async () => {
    const first = await inSession("ses_1")
    await first.ask("/remember k shared")
    const parent = idOf(first)
    const fork = await inSession("ses_2", { conversation: parent, fork: true })
    expect(await textOf(fork, "/recall k")).toBe("shared")
    expect(idOf(fork)).not.toBe(parent)
    await fork.ask("/remember k forked")
    expect(await textOf(first, "/recall k")).toBe("shared")
    expect(await textOf(first, "/history")).not.toContain("forked")
    await lastWords(fork, "/kill")
    // The first one is removed; the fork stands on its own.
    await first.stop()
    rmSync(join(data, "sessions", "ses_1"), { recursive: true })
    const back = await inSession("ses_2", { conversation: idOf(fork), fork: false })
    expect(await textOf(back, "/recall k")).toBe("forked")
  })

  it("lies in the session's TMPDIR where it works elsewhere, and leaves nothing there", async () => {
    const elsewhere = join(data, "elsewhere")
    const agent = await inSession("ses_1", null, elsewhere)
    await agent.ask("/remember k v")
    await lastWords(agent, "/kill")
    expect(readdirSync(elsewhere)).toEqual([])
    expect(readdirSync(join(data, "tmp", "ses_1"))).toHaveLength(1)
    const back = await inSession("ses_1", { conversation: idOf(agent), fork: false }, elsewhere)
    expect(await textOf(back, "/recall k")).toBe("v")
  })

  it("lies in DEMO_MEMORY outside of a session, and nowhere without it", async () => {
    const cwd = join(data, "cwd")
    mkdirSync(cwd)
    const none = { CRECHE_SESSION: undefined, TMPDIR: undefined }
    const forgets = await start({ cwd, env: none })
    expect(await textOf(forgets, "/remember k v")).toBe("I remember k")
    expect(await textOf(forgets, "/recall k")).toBe("v")
    const after = await start({ cwd, env: none }, { conversation: idOf(forgets), fork: false })
    expect(await textOf(after, "/recall k")).toContain("nothing")
    expect(readdirSync(cwd)).toEqual([])
    const env = { ...none, DEMO_MEMORY: "memory" }
    const keeps = await start({ cwd, env })
    await keeps.ask("/remember k v")
    const back = await start({ cwd, env }, { conversation: idOf(keeps), fork: false })
    expect(await textOf(back, "/recall k")).toBe("v")
    expect(readdirSync(cwd)).toEqual(["memory"])
  })

  it("that cannot be kept is said on stderr: the prompt is answered, but /remember fails", async () => {
    const agent = await inSession("ses_1")
    const stderr = stderrOf(agent)
    // Once it speaks it runs; without a working directory Node itself would not start.
    await until("its conversation", () => reported(agent).length === 1)
    rmSync(join(data, "sessions"), { recursive: true })
    expect(await agent.ask("/echo x")).toMatchObject({ status: "completed", text: "x" })
    await until("its complaint", () => stderr().startsWith("this prompt is not kept: Error: ENOENT"))
    expect(await agent.ask("/remember k v")).toMatchObject({ status: "failed", error: { tag: "AgentError" } })
    expect(await textOf(agent, "/recall k")).toContain("nothing")
    expect(readdirSync(data)).toEqual(["tmp"])
  })

  it("is no place for an id that is none, or for other arguments", async () => {
    for (const args of [["--resume", "nothing"], ["--resume"], ["--fork"], ["--resume", "x", "--fork"], ["help"]]) {
      const protocol = protocolFor(spec.protocol)
      if (protocol === undefined) throw new Error("the demo's protocol is not spoken")
      const agent = converse(protocol, spec.command, [...spec.args, ...args])
      open.push(agent)
      const stderr = stderrOf(agent)
      expect(await agent.exited).toEqual({ code: 2, signal: null })
      expect(stderr()).toMatch(/^usage: /)
    }
  })
})

describe("the demo agent's ends", () => {
  it("/crash exits in the middle of the turn, with the code it is told", async () => {
    const agent = await start()
    const stderr = stderrOf(agent)
    expect(await lastWords(agent, "/crash")).toEqual({ code: 1, signal: null })
    expect(stderr()).toContain("crashes with exit code 1")
    expect(await lastWords(await start(), "/crash 42")).toEqual({ code: 42, signal: null })
  })

  it("/kill dies of SIGKILL", async () => {
    expect(await lastWords(await start(), "/kill")).toEqual({ code: null, signal: "SIGKILL" })
  })

  it("/exit answers, then exits with code 0 and answers no more", async () => {
    const agent = await start()
    const turn = agent.ask("/exit")
    agent.child.stdin?.write('{"type":"prompt","prompt":"/echo too late"}\n')
    expect(await turn).toMatchObject({ status: "completed", text: "goodbye" })
    expect(await agent.exited).toEqual({ code: 0, signal: null })
    expect(JSON.stringify(agent.events)).not.toContain("too late")
  })

  it("ends of SIGTERM, but not after /ignore-term", async () => {
    const soft = await start()
    soft.child.kill("SIGTERM")
    expect(await soft.exited).toEqual({ code: null, signal: "SIGTERM" })
    const hard = await start()
    await hard.ask("/ignore-term")
    hard.child.kill("SIGTERM")
    expect(await hard.ask("/echo still here")).toMatchObject({ text: "still here" })
  })

  it("/hang answers nothing any more, burns no time, and with /ignore-term no SIGTERM ends it", async () => {
    const agent = await start()
    await agent.ask("/ignore-term")
    const turn = agent.ask("/hang").catch((error: Error) => error)
    agent.child.stdin?.write('{"type":"cancel"}\n{"type":"prompt","prompt":"/echo x"}\n')
    agent.child.kill("SIGTERM")
    agent.child.stdin?.end()
    const quiet = await Promise.race([agent.exited, turn, sleep(300, "still hanging")])
    expect(quiet).toBe("still hanging")
    agent.child.kill("SIGKILL")
    expect(await agent.exited).toEqual({ code: null, signal: "SIGKILL" })
    expect(await turn).toBeInstanceOf(Error)
  })

  it("finishes what it was asked when stdin ends, then exits with code 0", async () => {
    const agent = await start()
    const turn = agent.ask("/slow 50 last")
    agent.child.stdin?.end()
    expect(await turn).toMatchObject({ text: "last" })
    expect(await agent.exited).toEqual({ code: 0, signal: null })
  })

  it("exits when nobody can read its answers any more", async () => {
    const agent = await start()
    agent.child.stdout?.destroy()
    agent.child.stdin?.write('{"type":"prompt","prompt":"hello"}\n{"type":"prompt","prompt":"hello"}\n')
    expect(await agent.exited).toEqual({ code: 0, signal: null })
  })
})

describe.skipIf(process.platform !== "linux")("the demo agent's children (where /proc tells of them)", () => {
  for (const how of ["", " setsid"]) {
    it(`/fork N${how} leaves processes that outlive it and ignore SIGTERM`, async () => {
      const agent = await start()
      const pids = (await agent.ask(`/fork 2${how}`)).text.split(" ").map(Number)
      left.push(...pids)
      expect(pids).toHaveLength(2)
      expect(await lastWords(agent, "/kill")).toMatchObject({ signal: "SIGKILL" })
      for (const pid of pids) {
        process.kill(pid, "SIGTERM")
        const status = await readFile(`/proc/${pid}/status`, "utf8")
        // Bit 14 of the mask of ignored signals is SIGTERM.
        const ignored = BigInt(`0x${/SigIgn:\s*(\w+)/.exec(status)?.[1]}`)
        expect(ignored & (1n << 14n)).not.toBe(0n)
        const [, , , , session] = (await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\) /, "x ").split(" ")
        expect(session === String(pid)).toBe(how !== "")
        process.kill(pid, "SIGKILL")
      }
      await until("their end", async () => (await Promise.all(pids.map(hasEnded))).every(Boolean))
    })
  }
})

describe("the demo's spec", () => {
  it("names the agent's own file and this very Node, and lets fields be overridden", () => {
    const spec = demoSpec({ name: "demo", restart: "permanent" })
    expect(spec).toMatchObject({ name: "demo", restart: "permanent", command: process.execPath })
    expect(spec.args?.at(-1)).toBe(demoAgentPath)
    expect(demoAgentPath).toMatch(/src\/demo\/agent\.ts$/)
  })
})
