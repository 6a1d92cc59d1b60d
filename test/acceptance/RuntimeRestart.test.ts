import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import type { Client, WireEntry, WireSession } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { openRuntime } from "../../src/index.ts"
import { Home } from "../cli/Cli.ts"
import { eventually } from "./Processes.ts"
import { markedProcesses, ServedRuntime } from "./ServedRuntime.ts"

let directory = ""
let runtimes: Array<ServedRuntime> = []
let runtime: ServedRuntime
let client: Client

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-restart-"))
  runtimes = []
})
afterEach(async () => {
  await client?.close()
  for (const { child, ended } of runtimes) {
    child.kill("SIGKILL")
    await ended
  }
  await eventually("nothing is left", () => markedProcesses(...runtimes).length === 0, 2000)
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const up = async (...flags: ReadonlyArray<string>): Promise<void> => {
  runtime = new ServedRuntime(directory, flags)
  runtimes.push(runtime)
  client = await runtime.connect()
  if (flags.length > 0) await runtime.listening()
}

type End = "SIGTERM" | "SIGKILL" | "shutdown"

/** Ends the runtime; in good ways nothing may be left of it the moment it has gone. */
const down = async (how: End, drainMs?: number): Promise<void> => {
  if (how === "shutdown") {
    const answer = await client.request("runtime/shutdown", drainMs === undefined ? {} : { drainMs })
    expect(answer).toEqual({ survivors: [] })
    expect(await runtime.ended).toEqual({ code: 0, signal: null })
  } else expect((await runtime.kill(how)).signal).toBe(how === "SIGKILL" ? "SIGKILL" : null)
  if (how !== "SIGKILL") expect(markedProcesses(runtime)).toEqual([])
  await client.close()
}

const again = async (how: End, ...flags: ReadonlyArray<string>): Promise<void> => {
  await down(how)
  await up(...flags)
}

const get = (session: string): Promise<WireSession> => client.request("session/get", { session })

const textOf = async (session: string, prompt: string): Promise<string> => {
  const turn = await client.ask({ session, prompt })
  expect([turn.status, turn.error]).toEqual(["completed", null])
  return turn.text
}

const becomes = (session: string, status: string) =>
  eventually(`${session} is ${status}`, async () => (await get(session)).status === status)

const entriesOf = async (session: string): Promise<ReadonlyArray<WireEntry>> => {
  const entries: Array<WireEntry> = []
  for await (const entry of client.transcript({ session })) entries.push(entry)
  expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, at) => at + 1))
  return entries
}

const ends: ReadonlyArray<End> = ["SIGTERM", "shutdown", "SIGKILL"]

describe("a runtime that comes back on its data directory", () => {
  for (const end of ends) {
    it(`finds every session as its restart type has it, after ${end}`, async () => {
      await up()
      const start = (name: string, restart: "permanent" | "transient" | "temporary") =>
        client.start({ name, command: "cat", restart, tags: { of: "this" }, metadata: { n: [1, null] } })
      await Promise.all([
        start("permanent", "permanent"),
        start("transient", "transient"),
        start("temporary", "temporary"),
        start("asleep", "permanent"),
        start("over", "permanent"),
        client.start({ name: "broken", command: "cat", restart: "permanent", intensity: { maxRestarts: 0 } }),
      ])
      expect(await textOf("transient", "before")).toBe("before")
      await client.request("session/suspend", { session: "asleep" })
      await client.request("session/stop", { session: "over" })
      process.kill((await get("broken")).pid!, "SIGKILL")
      await becomes("broken", "failed")
      const before = await Promise.all(["permanent", "transient", "temporary", "asleep", "over", "broken"].map(get))
      await again(end)
      await becomes("permanent", "ready")
      const after = await Promise.all(before.map(({ id }) => get(id)))
      const [permanent, transient, temporary, asleep, over, broken] = after
      expect(after.map(({ name, id, createdAt, spec, restarts }) => ({ name, id, createdAt, spec, restarts }))).toEqual(
        before.map(({ name, id, createdAt, spec, restarts }) => ({ name, id, createdAt, spec, restarts })),
      )
      expect([permanent!.incarnation, permanent!.suspendedBy]).toEqual([2, null])
      expect([transient!.status, transient!.suspendedBy, transient!.pid]).toEqual(["suspended", "runtime", null])
      expect([temporary!.status, temporary!.pid]).toEqual(["stopped", null])
      expect([asleep!.status, asleep!.suspendedBy, asleep!.incarnation]).toEqual(["suspended", "client", 1])
      expect([over!.status, broken!.status]).toEqual(["stopped", "failed"])
      expect(broken!.exit).toEqual(before[5]!.exit)
      expect(await textOf("transient", "after")).toBe("after")
      expect((await get("transient")).turns).toMatchObject({ completed: 2 })
      await expect(client.ask({ session: "temporary", prompt: "x" })).rejects.toMatchObject({
        tag: "SessionNotRunning",
      })
      await expect(client.ask({ session: "broken", prompt: "x" })).rejects.toMatchObject({ tag: "SessionNotRunning" })
      // What a client asks for counts, also for those that were over with.
      for (const session of ["temporary", "broken", "over"]) {
        expect((await client.request("session/restart", { session })).status).toBe("ready")
        expect(await textOf(session, "again")).toBe("again")
      }
      for (const { id } of before) await entriesOf(id)
      await again(end)
      await becomes("permanent", "ready")
      expect((await get("asleep")).suspendedBy).toBe("client")
      const listed: Array<string> = []
      for await (const { name } of client.sessions({ tags: { of: "this" } })) listed.push(name)
      expect(listed.toSorted()).toEqual(["asleep", "over", "permanent", "temporary", "transient"])
    })
  }

  it("waits for running turns as long as the drain lasts; what runs still is cancelled by the shutdown, what waits is answered afterwards, in order", async () => {
    await up()
    await client.start(demoSpec({ name: "quick", restart: "transient" }))
    await client.start(demoSpec({ name: "slow", restart: "transient" }))
    const quick = await client.tell({ session: "quick", prompt: "/slow 300 done" })
    const running = await client.tell({ session: "slow", prompt: "/slow 60000 never" })
    const waiting = []
    for (const word of ["a", "b", "c"]) waiting.push(await client.tell({ session: "slow", prompt: `/echo ${word}` }))
    await eventually("it runs", async () => (await get("slow")).status === "busy")
    const shutdown = down("shutdown", 1500)
    await eventually("it drains", async () => (await client.request("runtime/health", {})).status === "draining")
    await expect(client.tell({ session: "quick", prompt: "late" })).rejects.toMatchObject({ tag: "Draining" })
    await expect(client.start({ name: "late", command: "cat" })).rejects.toMatchObject({ tag: "Draining" })
    await shutdown
    await up()
    expect(await client.request("turn/get", { turn: quick.id })).toMatchObject({ status: "completed", text: "done" })
    expect(await client.request("turn/get", { turn: running.id })).toMatchObject({
      status: "cancelled",
      stopReason: "shutdown",
    })
    const answers = await Promise.all(waiting.map(({ id }) => client.request("turn/wait", { turn: id })))
    expect(answers.map(({ status, text }) => [status, text])).toEqual(
      ["a", "b", "c"].map((word) => ["completed", word]),
    )
    expect(answers.map(({ firstSeq }) => firstSeq)).toEqual(
      answers.map(({ firstSeq }) => firstSeq).toSorted((a, b) => a - b),
    )
    const types = (await entriesOf("slow")).filter(({ type }) => type === "turn/ended")
    expect(types.map(({ turn }) => turn)).toEqual([running.id, ...waiting.map(({ id }) => id)])
  })

  it("cancels what runs at once without a drain, and tells who asked", async () => {
    await up()
    await client.start(demoSpec({ name: "slow" }))
    const ask = client.ask({ session: "slow", prompt: "/slow 60000 never" })
    await eventually("it runs", async () => (await get("slow")).status === "busy")
    await down("shutdown")
    expect(await ask).toMatchObject({ status: "cancelled", stopReason: "shutdown" })
  })

  it("says of a turn that it killed with its own death that it is lost, and gives the answer so far", async () => {
    await up()
    await client.start(demoSpec({ name: "slow", retryTurns: 5 }))
    const turn = await client.tell({ session: "slow", prompt: "/stream 100 word" })
    await eventually("some of it came", async () => {
      const { entries } = await client.request("session/transcript", { session: "slow", types: ["turn/delta"] })
      return entries.length > 3
    })
    await again("SIGKILL")
    const lost = await client.request("turn/wait", { turn: turn.id })
    expect([lost.status, lost.error?.tag]).toEqual(["lost", "RuntimeEnded"])
    expect(lost.text).toMatch(/^word( word)+$/)
    const deltas = (await entriesOf("slow")).flatMap((entry) => (entry.type === "turn/delta" ? [entry.text] : []))
    expect(lost.text).toBe(deltas.join(""))
    expect(await textOf("slow", "/echo on")).toBe("on")
  })

  it("keeps idempotency keys, also of sessions that are over with", async () => {
    await up()
    await client.start({ name: "a", command: "cat" })
    const first = await client.ask({ session: "a", prompt: "x", idempotencyKey: "k" })
    for (const end of ends) {
      await again(end)
      expect(await client.ask({ session: "a", prompt: "x", idempotencyKey: "k" })).toEqual(first)
      expect((await get("a")).turns.completed).toBe(1)
    }
    await client.request("session/stop", { session: "a" })
    await again("SIGTERM")
    expect(await client.tell({ session: "a", prompt: "x", idempotencyKey: "k" })).toEqual(first)
  })

  it("counts the time of a turn and of a session on while nobody was there", async () => {
    await up()
    const expires = { command: "cat", expiresInMs: 700 }
    await client.start({ ...expires, name: "suspended" })
    await client.start({ ...expires, name: "ready", restart: "permanent" })
    await client.start({ ...expires, name: "stopped" })
    await client.start({ ...expires, name: "failed", intensity: { maxRestarts: 0 } })
    const longer = await client.start({ ...expires, name: "longer", expiresInMs: 500 })
    await client.request("session/extend", { session: "longer", expiresInMs: 60_000 })
    await client.start({ ...expires, name: "endless" })
    await client.request("session/extend", { session: "endless", expiresInMs: null })
    await client.request("session/suspend", { session: "suspended" })
    await client.request("session/stop", { session: "stopped" })
    process.kill((await get("failed")).pid!, "SIGKILL")
    await client.start({ name: "hung", command: "sleep", args: ["1000"] })
    const timed = await client.tell({ session: "hung", prompt: "1" })
    const queued = await client.tell({ session: "hung", prompt: "2", timeoutMs: 600 })
    const known = readdirSync(join(directory, "sessions")).length
    expect(known).toBe(7)
    const extended = await get("longer")
    await down("SIGKILL")
    await sleep(800)
    await up()
    expect(await client.request("turn/wait", { turn: queued.id })).toMatchObject({ status: "timed_out" })
    expect(await client.request("turn/get", { turn: timed.id })).toMatchObject({ status: "lost" })
    expect(Math.abs(Date.parse((await get("longer")).expiresAt!) - Date.parse(extended.expiresAt!))).toBeLessThan(20)
    expect((await get("endless")).expiresAt).toBe(null)
    for (const name of ["suspended", "ready", "stopped", "failed"]) {
      await eventually(
        `${name} is gone`,
        () =>
          get(name).then(
            () => false,
            (error: { tag: string }) => error.tag === "SessionNotFound",
          ),
        3000,
      )
    }
    await eventually("their directories are gone", () => readdirSync(join(directory, "sessions")).length === 3)
    expect((await client.request("runtime/stats", {})).expiredPending).toBe(0)
    expect((await get("longer")).id).toBe(longer.id)
  })

  it("goes on with the restart history: a child that crashed before is given up after the crashes that are left", async () => {
    for (const end of ends) {
      await up()
      const name = `crashes-${end}`
      await client.start({
        name,
        command: "cat",
        restart: "permanent",
        backoff: { initialMs: 1 },
        intensity: { maxRestarts: 3, withinMs: 600_000 },
      })
      const crash = async () => {
        const { pid, incarnation } = await get(name)
        process.kill(pid!, "SIGKILL")
        await eventually("it was noticed", async () => {
          const now = await get(name)
          return now.status === "failed" || (now.incarnation > incarnation && now.status === "ready")
        })
        return (await get(name)).status
      }
      expect([await crash(), await crash()]).toEqual(["ready", "ready"])
      await again(end)
      await becomes(name, "ready")
      expect((await get(name)).restarts).toBe(2)
      expect([await crash(), await crash()]).toEqual(["ready", "failed"])
      expect((await get(name)).deaths.length).toBe(5)
      await again(end)
      expect((await get(name)).status).toBe("failed")
      // A client's start forgives.
      await client.request("session/restart", { session: name })
      expect([await crash(), await crash(), await crash(), await crash()]).toEqual([
        "ready",
        "ready",
        "ready",
        "failed",
      ])
      await down(end)
    }
  })

  it("names and tasks lead to the same sessions as before, and generated names to none of them", async () => {
    await up()
    const first = await client.start({ command: "cat" })
    await client.request("session/remove", { session: first.id })
    const old = await client.start({ name: "n", command: "cat", task: "t" })
    await client.request("session/stop", { session: "n" })
    const young = await client.start({ name: "n", command: "cat", task: "t" })
    await again("SIGKILL")
    for (const ref of ["n", "t", young.id]) expect((await get(ref)).id).toBe(young.id)
    expect((await get(old.id)).id).toBe(old.id)
    await expect(client.start({ name: "n", command: "cat" })).rejects.toMatchObject({ tag: "SessionAlreadyExists" })
    await expect(client.start({ name: "m", command: "cat", task: "t" })).rejects.toMatchObject({
      tag: "SessionAlreadyExists",
    })
    expect((await client.start({ name: "n", command: "cat", ifExists: "return" })).id).toBe(young.id)
    await expect(client.request("session/resume", { session: old.id })).rejects.toMatchObject({
      tag: "SessionAlreadyExists",
    })
    expect((await client.start({ command: "cat" })).name).not.toBe(first.name)
    await client.request("session/stop", { session: "n" })
    await again("SIGKILL")
    // Asked for first, it does not take the name from the younger one.
    expect((await get(old.id)).id).toBe(old.id)
    for (const ref of ["n", "t"]) expect((await get(ref)).id).toBe(young.id)
    await client.request("session/remove", { session: "n" })
    expect((await get("n")).id).toBe(old.id)
  })

  it("lets a subscriber go on where it was, without gap or duplicate", async () => {
    await up()
    await client.start({ name: "a", command: "cat", mailbox: { capacity: 500 } })
    const seen: Array<number> = []
    for (const end of [...ends, ...ends]) {
      const subscription = await client.subscribe({ session: "a", after: seen.at(-1) ?? 0 })
      const reading = (async () => {
        for await (const event of subscription) if ("entry" in event) seen.push(event.entry.seq)
      })()
      await Promise.all(Array.from({ length: 20 }, () => client.tell({ session: "a", prompt: "x" })))
      await again(end)
      await reading
    }
    await eventually(
      "all is answered",
      async () => (await get("a")).turns.queued === 0 && (await get("a")).status !== "busy",
    )
    const rest = await client.subscribe({ session: "a", after: seen.at(-1)! })
    const { seq } = await get("a")
    if (seen.length < seq) {
      for await (const event of rest) {
        if ("entry" in event) seen.push(event.entry.seq)
        if (seen.length >= seq) break
      }
    }
    expect(seen).toEqual(Array.from({ length: seq }, (_, at) => at + 1))
    expect((await entriesOf("a")).filter(({ type }) => type === "turn/ended").length).toBe(20 * 6)
  })
})

describe("what a configuration or a client set up", () => {
  const configure = (...lines: ReadonlyArray<string>) => {
    const file = join(directory, "creche.yaml")
    writeFileSync(file, ["version: 1", ...lines].map((line) => `${line}\n`).join(""))
    return ["--config", file]
  }

  it("runs again: configured sessions are started whatever they were, and once only", async () => {
    const sessions = [
      "sessions:",
      "  - {name: perm, command: cat, restart: permanent}",
      "  - {name: trans, command: cat}",
      "  - {name: temp, command: cat, restart: temporary}",
    ]
    await up(...configure(...sessions))
    const ids = await Promise.all(["perm", "trans", "temp"].map(async (name) => (await get(name)).id))
    for (const end of ends) {
      await client.request("session/suspend", { session: "trans" })
      await again(end, ...configure(...sessions))
      const after = await Promise.all(["perm", "trans", "temp"].map(get))
      expect(after.map(({ id, status }) => [id, status])).toEqual(ids.map((id) => [id, "ready"]))
      for (const { name } of after) expect(await textOf(name, "x")).toBe("x")
    }
    expect((await get("perm")).incarnation).toBe(4)
    const changed = (await entriesOf("perm")).filter((entry) => entry.type === "note" && entry.text.includes("spec"))
    expect(changed).toEqual([])
  })

  it("runs by a changed spec from then on, in the same session with its transcript", async () => {
    const spec = (word: string, restart: string) =>
      configure(
        "sessions:",
        `  - {name: s, command: sh, args: [-c, 'while read l; do echo ${word}; done'], restart: ${restart}}`,
      )
    await up(...spec("one", "permanent"))
    const { id } = await get("s")
    expect(await textOf("s", "?")).toBe("one")
    await again("SIGKILL", ...spec("two", "permanent"))
    expect(await textOf("s", "?")).toBe("two")
    await client.request("session/stop", { session: "s" })
    await again("SIGTERM", ...spec("three", "transient"))
    expect(await textOf("s", "?")).toBe("three")
    const waiting = await client.tell({ session: "s", prompt: "?" })
    await again("SIGTERM", ...spec("four", "temporary"))
    expect(["three", "four", ""]).toContain((await client.request("turn/wait", { turn: waiting.id })).text)
    expect(await textOf("s", "?")).toBe("four")
    expect(await get("s")).toMatchObject({ id, status: "ready", restarts: 0 })
    // No configuration: the last one that was written counts, by its restart type.
    await again("SIGKILL")
    expect((await get("s")).status).toBe("stopped")
    expect((await entriesOf("s")).filter((entry) => entry.type === "note" && entry.text.includes("spec")).length).toBe(
      3,
    )
  })

  it("a protocol that was changed in the file is spoken by the next process, and no prompt is lost in between", async () => {
    await up(...configure("sessions:", "  - {name: s, command: cat, protocol: lines}"))
    expect(await textOf("s", "x")).toBe("x")
    await again(
      "SIGTERM",
      ...configure(
        "sessions:",
        "  - {name: s, command: cat, protocol: {type: text, endOfTurn: {sentinel: {send: 'END {id}', expect: 'END {id}'}}}}",
      ),
    )
    expect(await textOf("s", "one\ntwo")).toBe("one\ntwo")
  })

  it("in memory is forgotten, by the file's word or the flag's", async () => {
    for (const flags of [configure("runtime: {store: memory}"), ["--memory"]]) {
      await up(...flags)
      await client.start({ name: "s", command: "cat", restart: "permanent" })
      await again("SIGTERM", ...flags)
      await expect(get("s")).rejects.toMatchObject({ tag: "SessionNotFound" })
      await down("SIGTERM")
    }
    expect(readdirSync(directory)).not.toContain("creche.db")
  })

  it("templates that a client put are there again, with what was started from them", async () => {
    await up()
    await client.request("template/put", { name: "t", template: { command: "cat", tags: { a: "1" } } })
    await client.request("template/put", { name: "u", template: { command: "cat" } })
    await client.request("template/put", { name: "bash", template: { command: "cat" } })
    await client.start({ name: "s", template: "t", restart: "permanent" })
    await client.request("template/remove", { name: "u" })
    for (const end of ends) {
      await again(end)
      expect(await client.request("template/get", { name: "t" })).toMatchObject({
        source: "client",
        template: { command: "cat", tags: { a: "1" } },
      })
      expect(await client.request("template/get", { name: "bash" })).toMatchObject({
        source: "client",
        template: { command: "cat" },
      })
      await expect(client.request("template/get", { name: "u" })).rejects.toMatchObject({ tag: "TemplateNotFound" })
      expect((await get("s")).spec).toMatchObject({ template: "t", tags: { a: "1" } })
      expect(await textOf("s", "x")).toBe("x")
      expect((await client.start({ name: `s-${end}`, template: "t" })).status).toBe("ready")
    }
    await client.request("template/remove", { name: "bash" })
    await again("SIGTERM")
    expect(await client.request("template/get", { name: "bash" })).toMatchObject({ source: "built-in" })
  })

  it("`serve --demo` comes back with its demo session", async () => {
    await up("--demo")
    const { id } = await get("demo")
    expect(await textOf("demo", "/remember k kept")).toBe("I remember k")
    for (const end of ends) {
      await again(end, "--demo")
      expect(await get("demo")).toMatchObject({ id, status: "ready" })
      expect(await textOf("demo", "/recall k")).toBe("kept")
    }
  })
})

describe("a conversation", () => {
  const agent = (name: string) => demoSpec({ name, restart: "transient", backoff: { initialMs: 1 } })

  it("goes on after suspend, kill -9 of the child, and every end of the runtime", async () => {
    await up()
    await client.start(agent("a"))
    await textOf("a", "/remember k kept")
    const { agentSessionId } = await get("a")
    expect(agentSessionId).not.toBe(null)
    await client.request("session/suspend", { session: "a" })
    expect(await textOf("a", "/recall k")).toBe("kept")
    process.kill((await get("a")).pid!, "SIGKILL")
    expect(await eventuallyText("a", "/recall k")).toBe("kept")
    for (const end of ends) {
      await again(end)
      expect(await get("a")).toMatchObject({ status: "suspended", agentSessionId })
      expect(await textOf("a", "/recall k")).toBe("kept")
    }
    // A turn was cut off in the middle; the conversation was not.
    await client.tell({ session: "a", prompt: "/slow 60000 never" })
    await eventually("it runs", async () => (await get("a")).status === "busy")
    await again("SIGKILL")
    expect(await textOf("a", "/history")).toContain("/slow 60000 never")
    expect((await get("a")).agentSessionId).toBe(agentSessionId)
  })

  /** The turn may have met the process that was being killed. */
  const eventuallyText = async (session: string, prompt: string): Promise<string> => {
    const turn = await client.ask({ session, prompt })
    return turn.status === "completed" ? turn.text : await textOf(session, prompt)
  }

  it("forks: both know what was said before, and neither what the other says later, also across restarts", async () => {
    await up()
    await client.start(agent("a"))
    await textOf("a", "/remember k kept")
    const fork = await client.request("session/fork", { session: "a", name: "b" })
    expect(fork).toMatchObject({ name: "b", status: "ready" })
    expect(await textOf("b", "/recall k")).toBe("kept")
    await textOf("b", "/remember k changed")
    expect(await textOf("a", "/recall k")).toBe("kept")
    await again("SIGKILL")
    // Of a session that sleeps.
    await client.request("session/fork", { session: "a", name: "c" })
    // Before it ever said a word.
    await again("SIGKILL")
    expect(await Promise.all(["a", "b", "c"].map((name) => textOf(name, "/recall k")))).toEqual([
      "kept",
      "changed",
      "kept",
    ])
    await textOf("c", "/remember k third")
    await again("SIGTERM")
    expect(await Promise.all(["a", "b", "c"].map((name) => textOf(name, "/recall k")))).toEqual([
      "kept",
      "changed",
      "third",
    ])
    const conversations = await Promise.all(["a", "b", "c"].map(async (name) => (await get(name)).agentSessionId))
    expect(new Set(conversations).size).toBe(3)
    await client.start({ name: "cat", command: "cat" })
    await expect(client.request("session/fork", { session: "cat" })).rejects.toMatchObject({ tag: "Unsupported" })
  })
})

describe("a runtime that its caller owns", () => {
  it("over stdio keeps its sessions in the data directory that it was given, and forgets them without one", async () => {
    const home = new Home()
    const call = async (args: ReadonlyArray<string>, ...requests: ReadonlyArray<object>) => {
      const lines = requests.map((request, id) => `${JSON.stringify({ jsonrpc: "2.0", id, ...request })}\n`)
      const running = home.spawn(["stdio", ...args], { CRECHE_DATA: "" })
      for (const [at, line] of lines.entries()) {
        running.child.stdin!.write(line)
        await eventually(`answer ${at}`, () =>
          running
            .stdout()
            .split("\n")
            .some((text) => text.includes(`"id":${at}`)),
        )
      }
      running.child.stdin!.end()
      const { code, stdout } = await running.ended
      expect(code).toBe(0)
      return stdout
        .trim()
        .split("\n")
        .map((text) => JSON.parse(text))
    }
    const start = { method: "session/start", params: { name: "a", command: "cat", restart: "permanent" } }
    const ask = { method: "session/ask", params: { session: "a", prompt: "x", idempotencyKey: "k" } }
    try {
      const data = ["--data", join(home.directory, "kept")]
      const [, first] = await call(data, start, ask)
      const [second] = await call(data, ask)
      expect(second.result).toEqual(first.result)
      await call([], start, ask)
      const [gone] = await call([], ask)
      expect(gone.error.data.tag).toBe("SessionNotFound")
    } finally {
      await home.dispose()
    }
  })

  it("in a program keeps its sessions in the data directory that it was given", async () => {
    const dataDirectory = join(directory, "embedded")
    mkdirSync(dataDirectory, { mode: 0o700 })
    const first = await openRuntime({ dataDirectory })
    await first.start({ name: "a", command: "cat", restart: "permanent" })
    const turn = await first.ask("a", "x", { idempotencyKey: "k" })
    await first.templates.put("t", { command: "cat" })
    await expect(openRuntime({ dataDirectory })).rejects.toMatchObject({ _tag: "DataDirectoryInUse" })
    expect(await first.close()).toEqual({ survivors: [] })
    const second = await openRuntime({ dataDirectory })
    await eventually("it runs", async () => (await second.get("a")).status === "ready")
    expect(await second.ask("a", "x", { idempotencyKey: "k" })).toEqual(turn)
    expect((await second.templates.get("t")).template).toEqual({ command: "cat" })
    await second.close()
    const forgetful = await openRuntime({ dataDirectory, store: "memory" })
    expect((await forgetful.list()).sessions).toEqual([])
    await forgetful.close()
    const third = await openRuntime({ dataDirectory })
    expect((await third.get("a")).turns.completed).toBe(1)
    await third.close()
  })
})
