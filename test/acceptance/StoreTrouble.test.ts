import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, CrecheError, type WireTurn } from "../../src/client/index.ts"
import { eventually, noGuard } from "./Processes.ts"
import { markedProcesses, noMounts, ServedRuntime, type ServedOptions } from "./ServedRuntime.ts"

let directory = ""
let data = ""
let runtimes: Array<ServedRuntime> = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-trouble-"))
  data = join(directory, "data")
  mkdirSync(data, { mode: 0o700 })
  runtimes = []
})
afterEach(async () => {
  for (const { child, ended } of runtimes) {
    child.kill("SIGKILL")
    await ended
  }
  await eventually("nothing is left", () => markedProcesses(...runtimes).length === 0, 2000)
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const serve = (options: ServedOptions = {}): ServedRuntime => {
  const runtime = new ServedRuntime(data, [], { socket: join(directory, "s"), ...options })
  runtimes.push(runtime)
  return runtime
}

/** A database with a session and some turns, as a runtime that ended in order leaves it. */
const used = async (): Promise<void> => {
  const runtime = serve()
  const client = await runtime.connect()
  await client.start({ name: "a", command: "cat" })
  for (let i = 0; i < 50; i++) await client.ask({ session: "a", prompt: `question ${i} ${"x".repeat(500)}` })
  await client.request("runtime/shutdown", {})
  await runtime.ended
}

const file = () => join(data, "creche.db")

/** Every file of the store, and what is in it. */
const fingerprint = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(data)
      .filter((name) => name.startsWith("creche.db"))
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(join(data, name)))
          .digest("hex"),
      ]),
  )

/** It refuses: in one line with the file and the remedy. Whatever is in the data directory stays as it is. */
const refuses = async (remedy: RegExp, options?: ServedOptions): Promise<void> => {
  const before = fingerprint()
  const runtime = serve(options)
  expect(await runtime.ended, runtime.stderr).toEqual({ code: 1, signal: null })
  expect(runtime.stderr.trimEnd().split("\n"), runtime.stderr).toHaveLength(1)
  expect(runtime.stderr).toContain(file())
  expect(runtime.stderr).toMatch(remedy)
  expect(runtime.stderr).not.toMatch(/^\s+at |bug|Error:/m)
  expect(fingerprint()).toEqual(before)
}

describe("serve on a database that it cannot use ends with 1 and one line that names file and remedy, and changes nothing", () => {
  it("where it is no database at all", async () => {
    writeFileSync(file(), "this is a shopping list\n".repeat(1000))
    await refuses(/Move it away/)
  })

  it("where its first page is damaged", async () => {
    await used()
    const fd = openSync(file(), "r+")
    writeSync(fd, Buffer.alloc(200, 0xff), 0, 200, 0)
    closeSync(fd)
    await refuses(/Move it away/)
  })

  it("where its pages are damaged behind a sound head", async () => {
    await used()
    const { size } = statSync(file())
    const fd = openSync(file(), "r+")
    for (let page = 4096; page < size; page += 4096) writeSync(fd, Buffer.alloc(4096, 0xa5), 0, 4096, page)
    closeSync(fd)
    await refuses(/Move it away/)
  })

  it("where it was cut short", async () => {
    await used()
    truncateSync(file(), 4096 * 2 + 100)
    await refuses(/Move it away/)
  })

  it("where it is another program's", async () => {
    const other = new DatabaseSync(file())
    other.exec("CREATE TABLE shopping (item TEXT); INSERT INTO shopping VALUES ('bread')")
    other.close()
    await refuses(/another program.*Move it away/)
  })

  it("where a newer version wrote it", async () => {
    await used()
    const newer = new DatabaseSync(file())
    const table = newer
      .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%migrations%'")
      .get() as { name: string }
    const columns = newer.prepare(`SELECT * FROM ${table.name} ORDER BY migration_id DESC LIMIT 1`).get()!
    newer
      .prepare(`INSERT INTO ${table.name} (migration_id, name) VALUES (?, 'from_the_future')`)
      .run((columns["migration_id"] as number) + 7)
    newer.exec("PRAGMA wal_checkpoint(TRUNCATE)")
    newer.close()
    await refuses(/newer version.*Use the newer version/)
  })

  it("where another process holds it", async () => {
    await used()
    // In a process of its own: whoever closes a file that he has read gives up his process's locks on it.
    const hold = `const db = new (require("node:sqlite").DatabaseSync)(process.argv[1])
      db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"); console.log("held"); setInterval(() => {}, 1000)`
    const holder = spawn(process.execPath, ["-e", hold, file()], { stdio: ["ignore", "pipe", "ignore"] })
    try {
      await new Promise((resolve) => holder.stdout.once("data", resolve))
      await refuses(/locked by another process.*end what else has it open/)
    } finally {
      holder.kill("SIGKILL")
    }
  })

  it("where it may not be written", async (context) => {
    const reason = noMounts()
    if (reason !== undefined) context.skip(reason)
    await used()
    await refuses(/cannot be (written|opened).*writable/, {
      within: `mount --bind '${file()}' '${file()}'; mount -o remount,ro,bind '${file()}'`,
    })
  })

  it("where it is a directory", async () => {
    mkdirSync(file())
    const runtime = serve()
    expect(await runtime.ended).toEqual({ code: 1, signal: null })
    expect(runtime.stderr.trimEnd().split("\n"), runtime.stderr).toHaveLength(1)
    expect(runtime.stderr).toContain(file())
  })

  it("and on the same data directory a second runtime is refused while the first one goes on", async () => {
    const first = serve()
    const client = await first.connect()
    await client.start({ name: "a", command: "cat" })
    const second = serve({ socket: join(directory, "other") })
    expect(await second.ended).toEqual({ code: 1, signal: null })
    expect(second.stderr.trimEnd().split("\n")).toHaveLength(1)
    expect(second.stderr).toMatch(new RegExp(`pid ${first.pid}.*uses the data directory ${data}`))
    expect((await client.ask({ session: "a", prompt: "x" })).text).toBe("x")
    await client.close()
  })

  it("and a sound copy that is put in its place is served", async () => {
    await used()
    const sound = readFileSync(file())
    writeFileSync(file(), "rubbish".repeat(1000))
    await refuses(/Move it away/)
    writeFileSync(file(), sound)
    const runtime = serve()
    const client = await runtime.connect()
    expect((await client.request("session/get", { session: "a" })).turns.completed).toBe(50)
    await client.close()
  })
})

const rssBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))![1]) * 1024

/** Whatever a process wrote, to wherever. */
const writtenBytes = (pid: number): number =>
  Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))![1])

describe("a disk that is full while sessions run", () => {
  const megabyte = 1024 * 1024
  const sizeMegabytes = 48

  /** A runtime whose data directory is a small disk of its own. */
  const onSmallDisk = async () => {
    const runtime = serve({ within: `mount -t tmpfs -o size=${sizeMegabytes}m,mode=700 none '${data}'` })
    const client = await runtime.connect()
    const filler = `/proc/${runtime.pid}/root${data}/filler`
    /** Leaves so much free (bytes). */
    const fill = (left: number) => {
      const fd = openSync(filler, "a")
      try {
        for (const block of [megabyte, 4096]) {
          try {
            while (true) if (writeSync(fd, Buffer.alloc(block, "f")) < block) break
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
          }
        }
      } finally {
        closeSync(fd)
      }
      truncateSync(filler, statSync(filler).size - left)
    }
    return { runtime, client, fill, free: () => rmSync(filler) }
  }

  const refused = (error: unknown): "refused" => {
    if (!(error instanceof CrecheError) || error.tag !== "StoreUnavailable") throw error
    expect((error as CrecheError).message).toMatch(/free some space/)
    return "refused"
  }

  /** Asks until one is not answered; those before it are acknowledged. Gives that one: it waits for the store. */
  const untilStuck = async (client: Client, session: string, acknowledged: Map<string, WireTurn>) => {
    for (let i = 0; ; i++) {
      const prompt = `${session} ${i} ${"p".repeat(20_000)}`
      const ask = client.ask({ session, prompt }).catch(refused)
      const outcome = await Promise.race([ask, sleep(1_500)])
      if (outcome === "refused" || outcome === undefined) return { ask, prompt }
      expect(outcome.text).toBe(prompt)
      acknowledged.set(outcome.id, outcome)
    }
  }

  it("keeps them, takes in nothing that it cannot store, holds a flooding child back, and goes on by itself once there is room", async (context) => {
    const reason = noMounts() ?? noGuard
    if (reason !== undefined) context.skip(reason)
    const { runtime, client, fill, free } = await onSmallDisk()
    const names = ["a", "b", "c"]
    await Promise.all(names.map((name) => client.start({ name, command: "cat", restart: "permanent" })))
    const flood = await client.start({
      name: "flood",
      command: "sh",
      args: ["-c", 'read go; exec yes "$(printf %01000d 0)"'],
      restart: "permanent",
    })
    const pids = await Promise.all(
      names.map(async (name) => (await client.request("session/get", { session: name })).pid),
    )
    fill(4 * megabyte)
    const rss = rssBytes(runtime.pid)
    const acknowledged = new Map<string, WireTurn>()
    // Some get through before the flood takes the rest.
    for (let i = 0; i < 5; i++) {
      const turn = await client.ask({ session: "a", prompt: `before ${i}` })
      acknowledged.set(turn.id, turn)
    }
    await client.request("session/write", { session: "flood", data: "go\n" })
    const stuck = await Promise.all(names.map((name) => untilStuck(client, name, acknowledged)))
    let peak = 0
    for (let i = 0; i < 20; i++) {
      await sleep(100)
      peak = Math.max(peak, rssBytes(runtime.pid))
    }
    console.log(
      `${acknowledged.size} turns acknowledged on a full disk; ${((peak - rss) / megabyte).toFixed(0)} MB more at most; ${runtime.stderr.length} bytes of log`,
    )
    // A fresh heap grows with its first flood; what would not be bounded is what a child goes on to say.
    expect(peak - rss).toBeLessThan(128 * megabyte)
    const said = writtenBytes(flood.pid!)
    await sleep(500)
    expect(writtenBytes(flood.pid!)).toBe(said)
    // Refused at once by now, and read all the same.
    expect(await client.tell({ session: "a", prompt: "x" }).catch(refused)).toBe("refused")
    for (const { id, text } of [...acknowledged.values()].slice(-20)) {
      expect(await client.request("turn/get", { turn: id })).toMatchObject({ status: "completed", text })
    }
    // Every process lives.
    expect(
      await Promise.all(names.map(async (name) => (await client.request("session/get", { session: name })).pid)),
    ).toEqual(pids)
    for (const pid of pids) expect(process.kill(pid!, 0)).toBe(true)
    expect((await client.request("session/get", { session: "flood" })).pid).toBe(flood.pid)

    process.kill(flood.pid!, "SIGSTOP")
    const { seq } = await client.request("session/get", { session: "flood" })
    free()
    for (const session of names) {
      await eventually(`${session} answers again`, async () => {
        const outcome = await client.ask({ session, prompt: "again" }).catch(refused)
        return outcome !== "refused" && outcome.text === "again"
      })
    }
    // What had waited was taken in after all, and once.
    for (const { ask, prompt } of stuck) {
      const outcome = await ask
      if (outcome !== "refused") expect(outcome).toMatchObject({ status: "completed", text: prompt })
    }
    process.kill(flood.pid!, "SIGCONT")
    await eventually(
      "the flood goes on",
      async () => (await client.request("session/get", { session: "flood" })).seq > seq + 100,
    )
    await client.request("session/stop", { session: "flood", mode: "kill" })
    for (const [id, turn] of acknowledged) expect(await client.request("turn/get", { turn: id })).toEqual(turn)
    for (const session of names) {
      const entries = []
      for await (const entry of client.transcript({ session, all: true })) entries.push(entry.seq)
      expect(entries).toEqual(entries.map((_, at) => at + 1))
    }
    expect(await client.request("runtime/shutdown", {})).toEqual({ survivors: [] })
    expect(await runtime.ended).toEqual({ code: 0, signal: null })
  })

  for (const wish of ["SIGTERM", "runtime/shutdown"] as const) {
    it(`${wish} ends every process within seconds all the same, and what was acknowledged is there for the next runtime`, async (context) => {
      const reason = noMounts() ?? noGuard
      if (reason !== undefined) context.skip(reason)
      const { runtime, client, fill } = await onSmallDisk()
      const names = Array.from({ length: 8 }, (_, i) => `s${i}`)
      await Promise.all(names.map((name) => client.start({ name, command: "cat", restart: "permanent" })))
      fill(4 * megabyte)
      const acknowledged = new Map<string, WireTurn>()
      const stuck = await Promise.all(names.map((name) => untilStuck(client, name, acknowledged)))
      // The disk goes with its last user; what is on it is looked at by the next runtime on a copy.
      const copy = `/proc/${runtime.pid}/root${data}`
      const begun = Date.now()
      if (wish === "SIGTERM") runtime.child.kill("SIGTERM")
      else void client.request("runtime/shutdown", {}).catch(() => {})
      // Taken while it ends: as a kill -9 would leave it.
      const kept = new Map(
        readdirSync(copy)
          .filter((name) => name.startsWith("creche.db"))
          .map((name) => [name, readFileSync(join(copy, name))]),
      )
      const ended = await Promise.race([runtime.ended, sleep(15_000)])
      console.log(
        `${wish} on a full disk: ended after ${Date.now() - begun} ms; ${acknowledged.size} turns acknowledged`,
      )
      expect(ended, `it still runs: ${runtime.stderr.slice(-2000)}`).not.toBe(undefined)
      expect(markedProcesses(runtime)).toEqual([])
      expect(acknowledged.size).toBeGreaterThan(5)
      const answers = stuck.map(({ ask }) => ask.catch((error: CrecheError) => error.tag))
      for (const answer of await Promise.all(answers))
        expect(["refused", "ConnectionLost", "Draining"]).toContain(answer)
      for (const [name, bytes] of kept) writeFileSync(join(data, name), bytes)
      const next = serve()
      const after = await next.connect()
      for (const [id, turn] of acknowledged) expect(await after.request("turn/get", { turn: id })).toEqual(turn)
      for (const session of names) expect((await after.ask({ session, prompt: "y" })).text).toBe("y")
      await after.close()
    })
  }
})
