import { spawn, spawnSync, type ChildProcess } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { StoreUnavailable } from "../../src/domain/Errors.ts"
import { specDefaults } from "../../src/domain/SessionSpec.ts"
import { SessionStore, type Commit } from "../../src/domain/SessionStore.ts"
import { CommitLog, logSuffixes } from "../../src/store/CommitLog.ts"
import * as Migrations from "../../src/store/Migrations.ts"
import { DatabaseSync } from "../../src/store/Sqlite.ts"
import * as SqliteClient from "../../src/store/SqliteClient.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import { sessionOf } from "../contracts/SessionStoreSuite.ts"
import { noThread } from "./HeldThread.ts"
import { allOf, StoreWriter } from "./StoreWriter.ts"

let directory = ""
let file = ""
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-store-"))
  file = join(directory, "creche.db")
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

type Store = SessionStore["Service"]

const withStore = <A>(use: (store: Store) => Effect.Effect<A, StoreUnavailable>): Promise<A> =>
  Effect.runPromise(Effect.scoped(Effect.flatMap(SqlSessionStore.make({ file, busyTimeoutMs: 20 }), use)))

const openFailure = async (at = file): Promise<string> => {
  const exit = await Effect.runPromiseExit(Effect.scoped(SqlSessionStore.make({ file: at, busyTimeoutMs: 20 })))
  if (Exit.isSuccess(exit)) throw new Error("it opened")
  const failure = exit.cause.reasons[0]
  if (failure?._tag !== "Fail" || !(failure.error instanceof StoreUnavailable)) throw new Error(String(exit.cause))
  return failure.error.detail
}

/** A file with some sessions, closed. */
const filled = () =>
  withStore((store) =>
    Effect.forEach(
      Array.from({ length: 20 }, (_, i) => i),
      (i) => {
        const writer = new StoreWriter(store, sessionOf(`s${i}`))
        return Effect.andThen(writer.note("n".repeat(500)), writer.note("m".repeat(500)))
      },
      { discard: true },
    ),
  )

const contents = () =>
  new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name)).toString("base64")]))

describe("opening a store", () => {
  it("makes the directory and a file that only the user can read", async () => {
    file = join(directory, "a", "b", "creche.db")
    await withStore(allOf)
    const { statSync } = await import("node:fs")
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(join(directory, "a")).mode & 0o777).toBe(0o700)
  })

  it("finds what was stored, and no log beside it once it is closed", async () => {
    await filled()
    expect(readdirSync(directory)).toEqual(["creche.db"])
    expect((await withStore(allOf)).length).toBe(20)
  })

  it("writes nothing on standard error", async () => {
    const url = fileURLToPath(new URL("../../src/store/SqlSessionStore.ts", import.meta.url))
    const child = spawn(process.execPath, [
      "--input-type=module",
      "-e",
      `await import(${JSON.stringify(url)}); process.emitWarning("mine")`,
    ])
    let said = ""
    child.stderr.on("data", (chunk) => (said += String(chunk)))
    await new Promise((resolve) => child.on("close", resolve))
    expect(said).toMatch(/Warning: mine/)
    expect(said).not.toMatch(/SQLite/)
  })

  it.each([
    ["no database at all", () => writeFileSync(file, "what is this?".repeat(1_000))],
    ["cut off in the middle", () => truncateSync(file, 3 * 4096 + 100)],
    ["cut off within the header", () => truncateSync(file, 50)],
    ["overwritten at its beginning", () => writeFileSync(file, Buffer.alloc(4096), { flag: "r+" })],
    [
      "emptied, with a log beside it that still holds data",
      () => {
        truncateSync(file, 0)
        writeFileSync(`${file}-wal`, Buffer.alloc(5000, 7))
      },
    ],
  ])("refuses a file that is %s, says which and what to do, and changes nothing", async (_, harm) => {
    await filled()
    harm()
    const before = contents()
    const detail = await openFailure()
    expect(detail).toContain(file)
    expect(detail).toMatch(/not a sound database.*nothing in it was changed.*Move it away.*--data/s)
    expect(contents()).toEqual(before)
  })

  it("either reads everything or refuses, whichever byte of the header is flipped, and loses nothing", async () => {
    await filled()
    const whole = readFileSync(file)
    const refused: Array<number> = []
    for (let at = 0; at < 100; at++) {
      const flipped = Buffer.from(whole)
      flipped[at]! ^= 0xff
      writeFileSync(file, flipped)
      const exit = await Effect.runPromiseExit(
        Effect.scoped(
          Effect.gen(function* () {
            const store = yield* SqlSessionStore.make({ file })
            const sessions = yield* allOf(store)
            expect(sessions.length, `byte ${at}`).toBe(20)
            for (const { id } of sessions) expect((yield* store.transcript(id, {})).entries.length).toBe(2)
          }),
        ),
      )
      if (Exit.isFailure(exit)) {
        refused.push(at)
        const failure = exit.cause.reasons[0]
        if (failure?._tag !== "Fail") throw new Error(`byte ${at}: ${String(exit.cause)}`)
        expect((failure.error as StoreUnavailable).detail).toContain(file)
        expect(readFileSync(file).equals(flipped), `byte ${at}`).toBe(true)
      }
      for (const side of ["-wal", "-shm"]) rmSync(file + side, { force: true })
    }
    expect(refused).toEqual(expect.arrayContaining([0, 5, 15, 16]))
  })

  it("takes in what a process that died has left in the log, once, and nothing that does not follow on", async () => {
    const copies: Array<Buffer> = []
    await withStore((store) =>
      Effect.gen(function* () {
        const writer = new StoreWriter(store, sessionOf("a"))
        yield* writer.note("first")
        yield* allOf(store)
        yield* writer.note("second")
        const [done, commit] = writer.ended(writer.turn("p", "k"), "t")
        yield* store.commit(commit)
        copies.push(readFileSync(file), readFileSync(`${file}-wal`), readFileSync(`${file}-commits`))
        expect(done.status).toBe("completed")
      }),
    )
    const restore = () => ["", "-wal", "-commits"].forEach((side, i) => writeFileSync(file + side, copies[i]!))
    restore()
    const read = () =>
      withStore((store) =>
        Effect.gen(function* () {
          const { entries } = yield* store.transcript(sessionOf("a").id, {})
          const turn = yield* store.turnByKey(sessionOf("a").id, "k")
          return [entries.map(({ seq }) => seq), turn?.status]
        }),
      )
    expect(await read()).toEqual([[1, 2, 3], "completed"])
    expect(await read()).toEqual([[1, 2, 3], "completed"])
    // The database has it by now: the old log beside it says nothing new.
    writeFileSync(`${file}-commits`, copies[2]!)
    expect(await read()).toEqual([[1, 2, 3], "completed"])
    restore()
    truncateSync(`${file}-commits`, copies[2]!.lastIndexOf("creche 2 ") + 30)
    expect(await read()).toEqual([[1, 2], undefined])
  })

  it("refuses a database of another program", async () => {
    const other = new DatabaseSync(file)
    other.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    other.close()
    const before = contents()
    expect(await openFailure()).toMatch(/database of another program; nothing in it was changed/)
    expect(contents()).toEqual(before)
  })

  it("refuses what a newer version has written", async () => {
    await filled()
    const newer = new DatabaseSync(file)
    newer.exec(
      `INSERT INTO creche_migrations (migration_id, name) VALUES (${Migrations.newest + 3}, 'from the future')`,
    )
    newer.close()
    const before = contents()
    const detail = await openFailure()
    expect(detail).toContain(`schema ${Migrations.newest + 3}; this version knows up to ${Migrations.newest}`)
    expect(detail).toContain(file)
    expect(contents()).toEqual(before)
  })

  it("goes on where an earlier version stopped, also when its first start was cut short", async () => {
    const half = new DatabaseSync(file)
    half.exec(
      "CREATE TABLE creche_migrations (migration_id integer PRIMARY KEY NOT NULL, created_at datetime NOT NULL DEFAULT current_timestamp, name VARCHAR(255) NOT NULL)",
    )
    half.close()
    await filled()
    expect((await withStore(allOf)).length).toBe(20)
    writeFileSync(file, "")
    await filled()
    expect((await withStore(allOf)).length).toBe(20)
  })

  it("fills in what a record lacks that was written before a field existed", async () => {
    const session = {
      ...sessionOf("a"),
      spec: { ...sessionOf("a").spec, task: "t", limits: { ...specDefaults.limits, processes: 3 } },
    }
    await withStore((store) => store.commit({ session, entries: [], turns: [] }))
    const older = new DatabaseSync(file)
    older.exec(`
      UPDATE sessions SET state = json_remove(state, '$.forkedFrom', '$.suspendedBy');
      UPDATE session_details SET
        spec = json_remove(spec, '$.template', '$.retention', '$.mailbox.overflow', '$.limits.lineBytes', '$.onStall'),
        own = json_remove(own, '$.tags', '$.metadata')`)
    older.close()
    await withStore((store) =>
      Effect.gen(function* () {
        expect(yield* store.session(session.id)).toEqual(session)
        expect((yield* store.recover(session.id))?.session).toEqual(session)
        expect((yield* store.recoverable).map((it) => it.session)).toEqual([session])
      }),
    )
  })

  it("says that a directory cannot be made where a file stands", async () => {
    writeFileSync(join(directory, "plain"), "")
    expect(await openFailure(join(directory, "plain", "creche.db"))).toMatch(/plain.*cannot be opened.*--data/)
  })

  it.each([
    ["a directory stands where the file should be", () => mkdirSync(file)],
    ["a directory stands where the log should be", () => mkdirSync(`${file}-commits2`)],
    ["no directory can be made there", () => void (file = "/proc/creche/creche.db")],
    ["a device stands where the directory should be", () => void (file = "/dev/null/creche.db")],
  ])("says at once which file cannot be had when %s", async (_, harm) => {
    harm()
    const detail = await openFailure()
    expect(detail).toContain(file)
    expect(detail).toMatch(/cannot be opened.*--data or CRECHE_DATA/s)
  })

  it("refuses a log whose records are whole and make no sense, and changes neither it nor the database", async () => {
    await filled()
    const database = new DatabaseSync(file)
    const { epoch } = database.prepare("SELECT epoch FROM log_progress").get() as { epoch: number }
    database.close()
    for (const text of ["no JSON", "[{}]", "7", "[null]", '[{"id":"x","now":[],"state":{},"entries":7}]']) {
      const log = new CommitLog(file, epoch, false)
      log.append(text)
      log.close(false)
      const before = logSuffixes.map((suffix) => readFileSync(file + suffix))
      const detail = await openFailure()
      expect(detail, text).toContain(file)
      expect(detail, text).toMatch(/log of commits.*cannot read.*nothing was changed.*Use the version that wrote it/s)
      expect(
        logSuffixes.every((suffix, i) => readFileSync(file + suffix).equals(before[i]!)),
        text,
      ).toBe(true)
    }
    for (const suffix of logSuffixes) rmSync(file + suffix)
    expect((await withStore(allOf)).length).toBe(20)
  })

  it("names the file when a page within turns out to be damaged, and writes over nothing", async () => {
    await filled()
    const size = readFileSync(file).length
    const said = new Set<string>()
    for (let page = 1; page < size / 4096; page++) {
      const whole = readFileSync(file)
      const harmed = Buffer.from(whole)
      harmed.fill(0xa5, page * 4096, page * 4096 + 200)
      writeFileSync(file, harmed)
      const exit = await Effect.runPromiseExit(
        Effect.scoped(
          Effect.gen(function* () {
            const store = yield* SqlSessionStore.make({ file })
            for (const { id } of yield* allOf(store)) yield* store.transcript(id, {})
            yield* store.counts(0)
          }),
        ),
      )
      if (Exit.isFailure(exit)) {
        const [reason] = exit.cause.reasons
        if (reason?._tag !== "Fail") throw new Error(`page ${page}: ${String(exit.cause)}`)
        said.add((reason.error as StoreUnavailable).detail)
        const after = readFileSync(file)
        const changed = Array.from({ length: size / 4096 }, (_, i) => i).filter(
          (i) => !after.subarray(i * 4096, (i + 1) * 4096).equals(harmed.subarray(i * 4096, (i + 1) * 4096)),
        )
        expect(changed, `page ${page}`).toEqual([])
      }
      for (const side of ["-wal", "-shm", ...logSuffixes]) rmSync(file + side, { force: true })
      writeFileSync(file, whole)
    }
    expect(said.size).toBeGreaterThan(0)
    for (const detail of said) expect(detail).toMatch(/creche\.db is not a sound database.*Move it away/s)
  })

  // Whoever may write everywhere becomes a user who may not; once everything is loaded, for that user may not read here.
  const becomeNobody = process.getuid?.() === 0 ? "process.setgid(65534); process.setuid(65534)" : ""

  it.each(["a directory that is not writable", "a file that is not writable"])(
    "says that %s is the trouble",
    async (what) => {
      await filled()
      const place = join(directory, "readonly")
      mkdirSync(place)
      const at = join(place, "creche.db")
      if (what.startsWith("a file")) copyFileSync(file, at)
      if (existsSync(at)) chmodSync(at, 0o444)
      chmodSync(place, 0o555)
      chmodSync(directory, 0o755)
      const url = new URL("../../src/store/SqlSessionStore.ts", import.meta.url).href
      const effect = new URL("../../node_modules/effect/dist/Effect.js", import.meta.url).href
      const program = `
      const { make } = await import(${JSON.stringify(url)})
      const Effect = await import(${JSON.stringify(effect)})
      ${becomeNobody}
      const exit = await Effect.runPromiseExit(Effect.scoped(make({ file: ${JSON.stringify(at)} })))
      console.log(exit.cause?.reasons[0]?.error?.detail ?? "opened")`
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], { cwd: "/" })
      let said = ""
      child.stdout.on("data", (chunk) => (said += String(chunk)))
      child.stderr.on("data", (chunk) => (said += String(chunk)))
      await new Promise((resolve) => child.on("close", resolve))
      chmodSync(place, 0o755)
      expect(said).toContain(at)
      expect(said).toMatch(/writable for this user/)
      expect(existsSync(at) ? readFileSync(at).equals(readFileSync(file)) : "not made").toBe(
        what.startsWith("a file") ? true : "not made",
      )
    },
  )

  it("waits for a lock of another process for a moment, then names it", async () => {
    await filled()
    const other = await lockedElsewhere("BEGIN EXCLUSIVE")
    const detail = await openFailure().finally(() => other.kill("SIGKILL"))
    expect(detail).toContain(file)
    expect(detail).toMatch(/locked by another process.*end what else has it open/)
  })
})

/** A process that holds the file. */
const lockedElsewhere = async (lock: string): Promise<ChildProcess> => {
  const program = `
    const { DatabaseSync } = require("node:sqlite")
    const database = new DatabaseSync(${JSON.stringify(file)})
    database.exec(${JSON.stringify(lock.startsWith("BEGIN EXCLUSIVE") ? `PRAGMA locking_mode = EXCLUSIVE; ${lock}` : lock)})
    console.log("locked")
    setInterval(() => {}, 1e9)`
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "ignore"] })
  await new Promise((resolve) => child.stdout!.once("data", resolve))
  return child
}

/** What a refused effect says; a defect where it was not refused. */
const failureOf = <A>(effect: Effect.Effect<A, StoreUnavailable>): Effect.Effect<string> =>
  Effect.flip(effect).pipe(
    Effect.map(({ detail }) => detail),
    Effect.mapError(() => new Error("it was not refused")),
    Effect.orDie,
  )

describe("a store that cannot write for a while", () => {
  it("takes commits while another process holds the lock, reads them, and has them in the tables after that", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const writer = new StoreWriter(store, sessionOf("a"))
        yield* writer.note()
        expect((yield* allOf(store)).length).toBe(1)
        const other = yield* Effect.promise(() => lockedElsewhere("BEGIN IMMEDIATE"))
        const turn = writer.turn("p", "k")
        yield* store.commit(writer.accepted(turn))
        yield* store.commit(new StoreWriter(store, sessionOf("b")).accepted(turn))
        // What a session itself needs goes on; what only the tables can answer says why it does not.
        expect((yield* store.transcript(writer.session.id, {})).entries.map(({ seq }) => seq)).toEqual([1, 2])
        expect(yield* store.turnByKey(writer.session.id, "k")).toEqual(turn)
        expect(yield* store.session(writer.session.id)).toEqual(writer.session)
        expect(yield* failureOf(allOf(store))).toMatch(/creche\.db is locked by another process/)
        yield* Effect.promise(() => {
          other.kill("SIGKILL")
          return new Promise((resolve) => other.once("exit", resolve))
        })
        expect((yield* allOf(store)).map(({ name }) => name)).toEqual(["a", "b"])
        yield* writer.note()
        expect((yield* store.transcript(writer.session.id, {})).entries.map(({ seq }) => seq)).toEqual([1, 2, 3])
      }),
    ))

  it("keeps what it has acknowledged while the disk is full, fails what it cannot keep, and goes on when there is room", () =>
    Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const client = yield* SqliteClient.open({ file })
          yield* Migrations.migrate(client)
          const store = yield* SqlSessionStore.fromClient(client, { startThread: noThread })
          const writers = Array.from({ length: 8 }, (_, i) => new StoreWriter(store, sessionOf(`s${i}`)))
          yield* Effect.forEach(writers, (writer) => writer.note(), { discard: true })
          expect((yield* allOf(store)).length).toBe(8)
          const { page_count: pages } = client.database.prepare("PRAGMA page_count").get() as { page_count: number }
          client.database.exec(`PRAGMA max_page_count = ${pages + 10}`)
          const text = "x".repeat(200_000)
          let refused: Commit | undefined
          let taken = 0
          while (refused === undefined) {
            const writer = writers[taken % 8]!
            const commit = writer.commitOf([[{ type: "output", stream: "stdout", data: text }]])
            const exit = yield* Effect.exit(store.commit(commit))
            if (Exit.isSuccess(exit)) taken++
            else {
              refused = commit
              const [reason] = exit.cause.reasons
              expect(reason?._tag === "Fail" && reason.error.detail).toMatch(
                /creche\.db: the disk is full.*free some space/,
              )
            }
          }
          // Bounded: the tables must not lag behind for ever.
          expect(taken).toBeGreaterThan(10)
          expect(taken).toBeLessThan(200)
          expect(yield* failureOf(allOf(store))).toMatch(/disk is full/)
          client.database.exec("PRAGMA max_page_count = 1000000")
          yield* Effect.eventually(store.commit(refused))
          let stored = 0
          for (const { session } of writers) {
            const { entries } = yield* store.transcript(session.id, {})
            expect(entries.every(({ seq }, i) => seq === i + 1)).toBe(true)
            expect(entries.length).toBe(session.seq)
            stored += entries.length
          }
          expect(stored).toBe(8 + taken + 1)
          expect((yield* allOf(store)).length).toBe(8)
        }),
      ),
    ))

  it.skipIf(spawnSync("prlimit", ["--version"]).status !== 0)(
    "does the same for a limit on the size of files, which the log meets first, and loses nothing",
    async () => {
      const at = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
      const program = `
        const { make } = await import(${at("../../src/store/SqlSessionStore.ts")})
        const { StoreWriter, allOf } = await import(${at("./StoreWriter.ts")})
        const Effect = await import(${at("../../node_modules/effect/dist/Effect.js")})
        const session = JSON.parse(${JSON.stringify(JSON.stringify(sessionOf("a")))})
        const once = (stream) => new Promise((resolve) => stream.once("data", resolve))
        await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
          const store = yield* make({ file: ${JSON.stringify(file)} })
          const writer = new StoreWriter(store, session)
          yield* writer.note()
          yield* allOf(store)
          console.log("ready")
          yield* Effect.promise(() => once(process.stdin))
          let commit, exit
          do {
            commit = writer.commitOf([[{ type: "note", text: "x".repeat(50_000) }]])
            exit = yield* Effect.exit(store.commit(commit))
          } while (exit._tag === "Success")
          console.log("refused " + exit.cause.reasons[0]?.error?.detail)
          yield* Effect.promise(() => once(process.stdin))
          yield* Effect.eventually(store.commit(commit))
          yield* Effect.eventually(allOf(store))
          const { entries } = yield* store.transcript(session.id, {})
          console.log(entries.length === writer.session.seq && entries.every(({ seq }, i) => seq === i + 1) ? "whole" : "gaps")
          process.stdin.unref()
        })))`
      const child = spawn(process.execPath, ["--input-type=module", "-e", program])
      const lines: Array<string> = []
      const line = () =>
        new Promise<string>((resolve, reject) => {
          child.once("close", () => reject(new Error(`it ended: ${lines.join("\n")}`)))
          child.stdout.once("data", (chunk) => resolve(String(chunk)))
        })
      child.stderr.on("data", (chunk) => lines.push(String(chunk)))
      const limit = (bytes: string) => spawnSync("prlimit", [`--fsize=${bytes}:`, "--pid", String(child.pid)])
      try {
        expect(await line()).toBe("ready\n")
        limit("600000")
        child.stdin.write("go\n")
        const refused = await line()
        expect(refused).toContain(file)
        expect(refused).toMatch(/free some space|check the disk/)
        limit("unlimited")
        child.stdin.write("go\n")
        expect(await line()).toBe("whole\n")
        expect(lines).toEqual([])
      } finally {
        child.kill("SIGKILL")
      }
    },
  )

  it("answers that it is closed after its scope", async () => {
    let kept: Store | undefined
    await withStore((store) => Effect.sync(() => (kept = store)))
    expect(await Effect.runPromise(failureOf(new StoreWriter(kept!, sessionOf("a")).note()))).toMatch(
      /creche\.db is closed/,
    )
    expect(await Effect.runPromise(failureOf(allOf(kept!)))).toMatch(/is closed/)
  })

  it("lets a commit that cannot be written harm no other, and stays usable", () =>
    withStore((store) =>
      Effect.gen(function* () {
        const writers = Array.from({ length: 8 }, (_, i) => new StoreWriter(store, sessionOf(`s${i}`)))
        const exits = yield* Effect.forEach(
          writers,
          (writer, i) =>
            Effect.exit(
              i === 3
                ? writer.write([[{ type: "native", message: { big: 1n } }]])
                : i === 5
                  ? writer.write([], [], { createdAt: undefined as never })
                  : writer.note(),
            ),
          { concurrency: "unbounded" },
        )
        expect(exits.map(Exit.isSuccess)).toEqual([true, true, true, false, true, false, true, true])
        expect((yield* allOf(store)).length).toBe(6)
        yield* writers[0]!.note()
      }),
    ))
})
