import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { WireHit } from "../../src/transport/Contract.ts"
import type { WireEntry, WireSession, WireTurn } from "../../src/transport/Wire.ts"
import { Home, type Outcome, until } from "./Cli.ts"
import { blocksOf } from "./Fences.ts"

const home = new Home()
const creche = (...args: ReadonlyArray<string>) => home.run(args)
const values = (outcome: Outcome): Array<any> =>
  outcome.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))
const lines = (text: string) => values({ code: 0, signal: null, stdout: text, stderr: "" })
const seqs = (outcome: Outcome) => (values(outcome) as Array<WireEntry>).map((entry) => entry.seq)
const through = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, n) => first + n)
const seqOf = async (session: string) =>
  (values(await creche("ps", "--json")) as Array<WireSession>).find((each) => each.name === session)!.seq

beforeAll(async () => {
  await home.serve("--demo")
  const ring = join(home.directory, "ring.json")
  writeFileSync(ring, JSON.stringify({ limits: { transcriptEntries: 100 } }))
  // Keeps 100 entries, and has more than two pages of them.
  expect((await creche("start", "long", "--template", "demo", "--spec", ring)).code).toBe(0)
  expect((await creche("ask", "long", "/stream 1200 lorem")).code).toBe(0)
})
afterAll(() => home.dispose())

describe("logs", () => {
  it("prints what the session keeps, and says on stderr what more there is", async () => {
    const seq = await seqOf("long")
    const kept = await creche("logs", "--json", "long")
    expect(seqs(kept)).toEqual(through(seq, seq - 99))
    expect(kept).toMatchObject({
      code: 0,
      stderr: `entries 1 to ${seq - 100} are over the session's limits; --all shows what is still archived\n`,
    })
  })

  it("prints everything archived with --all, over all pages, each entry once", async () => {
    const seq = await seqOf("long")
    expect(seq).toBeGreaterThan(1200)
    const all = await creche("logs", "--all", "--json", "long")
    expect(all).toMatchObject({ code: 0, stderr: "" })
    expect(seqs(all)).toEqual(through(seq))
    expect(seqs(await creche("logs", "--all", "--json", "--after", "1100", "long"))).toEqual(through(seq, 1101))
    const ends = values(await creche("logs", "--all", "--json", "--type", "turn/ended", "long")) as Array<WireEntry>
    expect(ends.map((entry) => entry.type)).toEqual(["turn/ended"])
    const [turn] = values(await creche("history", "--json", "long")) as Array<WireTurn>
    const ofTurn = values(await creche("logs", "--all", "--json", "--turn", turn!.id, "long")) as Array<WireEntry>
    expect(ofTurn.map((entry) => entry.seq)).toEqual(through(turn!.lastSeq, turn!.firstSeq))
  })

  it("goes on with -f after the archive, without a gap and without a duplicate", async () => {
    const before = await seqOf("long")
    const following = home.spawn(["logs", "-f", "--all", "--json", "long"])
    await until("the archive is through", () => following.stdout().split("\n").length > before)
    expect((await creche("ask", "long", "/stream 700 ipsum")).code).toBe(0)
    const seq = await seqOf("long")
    await until("it has come to the end", () => following.stdout().split("\n").length > seq)
    following.child.kill("SIGINT")
    const followed = await following.ended
    expect(followed).toMatchObject({ code: 0, stderr: "" })
    expect(seqs(followed)).toEqual(through(seq))
  })

  it("goes on with -f from what is kept, and says what is not", async () => {
    const seq = await seqOf("long")
    const following = home.spawn(["logs", "-f", "--json", "long"])
    await until("it has come to the end", () => following.stdout().includes(`"seq":${seq},`))
    following.child.kill("SIGINT")
    const followed = await following.ended
    expect(followed.stderr).toContain(`entries 1 to ${seq - 100} `)
    expect(seqs(followed)).toEqual(through(seq, seq - 99))
  })
})

describe("history", () => {
  it("prints what a session was asked, newest last, with how it ended and how long it took", async () => {
    await creche("start", "asked", "--template", "demo")
    for (const prompt of ["/echo one", "/fail it is Monday", "/echo three\nand more", "   /echo \u001b[31m four"])
      await creche("ask", "asked", "--", prompt)
    const lines = (await creche("history", "asked")).stdout.trimEnd().split("\n")
    expect(lines).toHaveLength(4)
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  completed +[\d.]+ m?s  \/echo one$/)
    expect(lines[1]).toMatch(/  failed  .*\/fail it is Monday$/)
    expect(lines[2]).toMatch(/\/echo three …$/)
    expect(lines[3]).toMatch(/\/echo \\e\[31m four$/)
    expect((await creche("history", "asked", "--limit", "2")).stdout.trimEnd().split("\n")).toEqual(lines.slice(2))
  })

  it("gives the turns as JSON, over more than one page", async () => {
    await creche("start", "many", "--", "cat")
    const prompts = through(230).map((n) => `p${n}`)
    await askAll("many", prompts)
    const turns = values(await creche("history", "many", "--json", "--limit", "1000")) as Array<WireTurn>
    expect(turns.map((turn) => turn.prompt)).toEqual(prompts)
    const newest = values(await creche("history", "many", "--json")) as Array<WireTurn>
    expect(newest.map((turn) => turn.prompt)).toEqual(prompts.slice(-100))
  })

  it("is empty for a session that was asked nothing", async () => {
    await creche("start", "fresh", "--", "cat")
    expect(await creche("history", "fresh")).toEqual({ code: 0, signal: null, stdout: "", stderr: "" })
  })
})

/** Through the client: a process for each would take its time. */
const askAll = async (session: string, prompts: ReadonlyArray<string>) => {
  const { connect } = await import("../../src/client/index.ts")
  const client = await connect({ socket: home.socket })
  for (const prompt of prompts) await client.ask({ session, prompt })
  await client.close()
}

describe("search", () => {
  it("finds turns by their words, says where, and may be kept to one session", async () => {
    await creche("start", "needles", "--", "cat")
    await askAll("needles", ["a Haystack with a needle", "nothing here"])
    const found = await creche("search", "NEEDLE", "hay*")
    expect(found).toMatchObject({ code: 0, stderr: "" })
    expect(found.stdout).toMatch(/^\S+Z  turn_\S+  needles: .*a Haystack with a needle.*\n$/)
    const hits = values(
      await creche("search", "needle", "--session", "needles", "--limit", "1", "--json"),
    ) as Array<WireHit>
    expect(hits).toMatchObject([
      { turn: { prompt: "a Haystack with a needle" }, snippet: expect.any(String) as string },
    ])
    expect(await creche("search", "needle", "--session", "demo")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "nothing found\n",
    })
  })
})

describe("export", () => {
  it("writes every entry as it is on the wire, archived ones too", async () => {
    const exported = await creche("export", "long")
    expect(exported).toMatchObject({ code: 0, stderr: "" })
    // As values: the order of an entry's fields may be another once it comes from the disk.
    expect(values(exported)).toEqual(values(await creche("logs", "--all", "--json", "long")))
    expect(seqs(exported).length).toBeGreaterThan(1900)
  })

  it("writes a conversation to read, in which a prompt's own fences stay code", async () => {
    await creche("start", "fences", "--", "cat")
    await askAll("fences", ["```js x```", "plain"])
    const { stdout, code } = await creche("export", "fences", "--format", "markdown")
    expect(code).toBe(0)
    expect(stdout).toMatch(/^# Session `fences`\n/)
    expect(blocksOf(stdout).blocks).toEqual(["```js x```\n", "```js x```\n", "plain\n", "plain\n"])
  })

  it("writes a file that only its owner reads, and never over another without --force", async () => {
    const file = join(home.directory, "out.ndjson")
    const first = await creche("export", "demo", "--output", "out.ndjson")
    expect(first).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(/^\d+ entries of demo written to out\.ndjson\n$/) as string,
    })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const before = readFileSync(file, "utf8")
    expect(lines(before)).toEqual(lines((await creche("export", "demo")).stdout))
    const second = await creche("export", "long", "--output", "out.ndjson")
    expect(second).toMatchObject({ code: 1, stdout: "" })
    expect(second.stderr).toContain("--force")
    expect(readFileSync(file, "utf8")).toBe(before)
    const forced = values(await creche("export", "long", "--output", "out.ndjson", "--force", "--json"))
    expect(forced).toEqual([{ session: "long", file: "out.ndjson", format: "ndjson", entries: await seqOf("long") }])
    expect(readFileSync(file, "utf8")).not.toBe(before)
    expect(readdirSync(home.directory).filter((name) => name.includes(".part"))).toEqual([])
  })

  it("leaves no file behind for a session that there is not", async () => {
    expect(await creche("export", "nobody", "--output", "none.md")).toMatchObject({ code: 1, stdout: "" })
    expect(existsSync(join(home.directory, "none.md"))).toBe(false)
  })

  it("ends quietly when its reader has seen enough", async () => {
    for (const format of ["ndjson", "markdown"]) {
      const reading = home.spawn(["export", "long", "--format", format])
      reading.child.stdout?.once("data", () => reading.child.stdout?.destroy())
      expect(await reading.ended).toMatchObject({ code: 0, stderr: "" })
    }
  })
})

describe("extend and fork", () => {
  it("says until when a session lives, and ends it then", async () => {
    await creche("start", "brief", "--expires-in-ms", "600000", "--", "cat")
    expect((await creche("extend", "brief", "3600000")).stdout).toMatch(/^brief expires at \d{4}-.*Z\n$/)
    expect(await creche("extend", "brief", "never")).toMatchObject({ code: 0, stdout: "brief never expires\n" })
    expect(values(await creche("extend", "brief", "50", "--json"))[0]).toMatchObject({ name: "brief" })
    await until("it is gone", async () => !(await creche("ps", "-q")).stdout.includes("brief"))
  })

  it("forks a conversation where the protocol can", async () => {
    const forked = await creche("fork", "demo", "branch")
    expect(forked).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^branch is ready, a fork of demo, id ses_/) as string,
    })
    expect(await creche("ask", "branch", "/echo on its own")).toMatchObject({ stdout: "on its own\n" })
    const refused = await creche("fork", "many")
    expect(refused).toMatchObject({ code: 1, stdout: "" })
    expect(JSON.parse((await creche("fork", "many", "--json")).stderr)).toMatchObject({ error: { tag: "Unsupported" } })
  })
})

describe("start", () => {
  it("takes how long a session lives and what is kept of it, also on top of a file", async () => {
    const file = join(home.directory, "kept.json")
    writeFileSync(file, JSON.stringify({ retention: { maxAgeMs: 5, maxBytes: 7000 }, command: "cat", task: "job 1" }))
    const flags = ["--expires-in-ms", "600000", "--retention-age-ms", "86400000"]
    const [started] = values(
      await creche("start", "--json", "kept", "--spec", "kept.json", ...flags),
    ) as Array<WireSession>
    expect(started).toMatchObject({
      spec: { expiresInMs: 600_000, retention: { maxAgeMs: 86_400_000, maxBytes: 7000 } },
    })
    expect(Date.parse(started!.expiresAt!)).toBeGreaterThan(Date.parse(started!.createdAt))
    const [eternal] = values(
      await creche("start", "--json", "eternal", "--expires-in-ms", "0", "--retention-bytes", "9", "--", "cat"),
    )
    expect(eternal).toMatchObject({ expiresAt: null, spec: { expiresInMs: null, retention: { maxBytes: 9 } } })
    // By its task as by its name.
    expect(await creche("ask", "job 1", "hi")).toMatchObject({ code: 0, stdout: "hi\n" })
  })
})

describe("ps and stats", () => {
  it("shows what is suspended as such, and no more than it was asked for", async () => {
    await creche("start", "idler", "--idle-timeout-ms", "50", "--", "cat")
    await creche("start", "asleep", "--", "cat")
    await creche("suspend", "asleep")
    await until("the idle one sleeps", async () => /^idler +suspended \(idle\)/m.test((await creche("ps")).stdout))
    expect((await creche("ps")).stdout).toMatch(/^asleep +suspended +-/m)
    const asleep = (await creche("ps", "-q", "--status", "suspended")).stdout.trimEnd().split("\n")
    expect(asleep.toSorted()).toEqual(["asleep", "idler"])
    const all = (await creche("ps", "-q")).stdout.trimEnd().split("\n")
    for (const limit of [1, 2, all.length, all.length + 5]) {
      const some = (await creche("ps", "-q", "--limit", String(limit))).stdout.trimEnd().split("\n")
      expect(some).toEqual(all.slice(0, limit))
    }
    expect(await creche("ps", "--status", "failed")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("no sessions") as string,
    })
  })

  it("counts sessions by template, says how long turns took and how large the store is", async () => {
    const { stdout } = await creche("stats")
    expect(stdout).toMatch(/^templates +\d+ demo$/m)
    expect(stdout).toMatch(/^expired +0 being removed$/m)
    expect(stdout).toMatch(/^durations +mean .*, p50 .*, p90 .*, p99 .*, max .*s$/m)
    expect(stdout).toMatch(/^store +[\d.]+ \w+ on disk$/m)
    expect(values(await creche("stats", "--json"))[0]).toMatchObject({
      store: { durable: true },
      durations: { count: expect.any(Number) as number },
    })
  })
})

describe("commands for a session's past", () => {
  it("load nothing of effect, so that they start fast", async () => {
    const source = `import { registerHooks } from "node:module"
      registerHooks({ load(url, context, next) {
        if (url.includes("/node_modules/effect/")) process.stderr.write(url + "\\n")
        return next(url, context)
      } })`
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(source)}` }
    for (const args of [
      ["ps"],
      ["stats"],
      ["logs", "--all", "demo"],
      ["history", "demo"],
      ["search", "needle"],
      ["export", "demo", "--format", "markdown"],
    ])
      expect(await home.run(args, { env }), args[0]).toMatchObject({ code: 0, stderr: "" })
    expect((await home.run(["ps", "--help"], { env })).stderr).toContain("/effect/")
  })
})

describe("failures", () => {
  it.each([
    [["history", "nobody"]],
    [["search", "x", "--session", "nobody"]],
    [["export", "nobody"]],
    [["extend", "nobody", "1"]],
    [["fork", "nobody"]],
    [["logs", "--all", "nobody"]],
  ])("%j names what is missing and exits 1", async (args) => {
    const outcome = await home.run(args)
    expect(outcome).toMatchObject({ code: 1, stdout: "" })
    expect(outcome.stderr).toContain('no session is called "nobody"; `creche ps` shows those there are')
  })

  it.each([
    [["extend", "demo", "soon"], "never"],
    [["extend", "demo", "0"], "at least 1"],
    [["extend", "demo"], "ms"],
    [["fork", "demo", "a/b"], "name"],
    [["history", "demo", "--limit", "0"], "--limit"],
    [["ps", "--limit", "0"], "--limit"],
    [["search", "x", "--limit", "5000"], "limit"],
    [["search"], "words"],
    [["export", "demo", "--force"], "--output"],
    [["export", "demo", "--format", "pdf"], "--format"],
    [["export", "demo", "--format", "markdown", "--json"], "--output"],
    [["start", "x", "--retention-bytes", "0", "--", "cat"], "retention.maxBytes"],
  ])("%j is wrong usage: exit 2, %j named on stderr", async (args, named) => {
    const outcome = await home.run(args)
    expect(outcome).toMatchObject({ code: 2, stdout: "" })
    expect(outcome.stderr).toContain(named)
  })
})
