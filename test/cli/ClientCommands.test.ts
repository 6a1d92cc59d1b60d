import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { WireEntry, WireSession, WireTurn } from "../../src/transport/Wire.ts"
import { Home, type Outcome, until } from "./Cli.ts"

const home = new Home()
const creche = (...args: ReadonlyArray<string>) => home.run(args)
const values = (outcome: Outcome): Array<any> =>
  outcome.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))

beforeAll(() => home.serve("--demo"))
afterAll(() => home.dispose())

describe("ask", () => {
  it("prints the answer on stdout and nothing else anywhere", async () => {
    expect(await creche("ask", "demo", "/echo", "hello", "world")).toEqual({
      code: 0,
      signal: null,
      stdout: "hello world\n",
      stderr: "",
    })
  })

  it("reads a prompt from standard input", async () => {
    const asked = await home.run(["ask", "demo", "-"], { input: "/echo from a pipe\n" })
    expect(asked).toMatchObject({ code: 0, stdout: "from a pipe\n" })
  })

  it("refuses to ask nothing", async () => {
    expect(await home.run(["ask", "demo", "-"], { input: "" })).toMatchObject({ code: 1, stdout: "" })
  })

  it("takes what follows -- for the prompt", async () => {
    expect(await creche("ask", "demo", "--", "/echo", "--json", "-x")).toMatchObject({ code: 0, stdout: "--json -x\n" })
  })

  it("streams to the same text as it answers at once", async () => {
    const streamed = await creche("ask", "--stream", "demo", "/stream 5 abc")
    expect(streamed).toMatchObject({ code: 0, stderr: "" })
    expect((await creche("ask", "demo", "/stream 5 abc")).stdout).toBe(streamed.stdout)
  })

  it("refuses a prompt that is too large for a message, at once", async () => {
    const refused = await home.run(["ask", "--json", "demo", "-"], { input: "x".repeat(20_000_000) })
    expect(refused).toMatchObject({ code: 1, stdout: "" })
    expect(JSON.parse(refused.stderr)).toMatchObject({ error: { tag: "MessageTooLarge" } })
  })

  it("exits 1 and says why when the turn did not complete", async () => {
    const failed = await creche("ask", "demo", "/fail it is Monday")
    expect(failed).toMatchObject({ code: 1, stdout: "" })
    expect(failed.stderr).toContain("it is Monday")
    const late = await creche("ask", "demo", "--timeout-ms", "50", "/slow 60000 x")
    expect(late).toMatchObject({ code: 1, stdout: "" })
    expect(late.stderr).toContain("timed_out")
  })

  it("gives the turn as JSON, its entries before it with --stream", async () => {
    const asked = values(await creche("ask", "--json", "--stream", "demo", "/echo hi"))
    const turn = asked.at(-1) as WireTurn
    expect(turn).toMatchObject({ status: "completed", text: "hi" })
    const entries = asked.slice(0, -1) as Array<WireEntry>
    expect(entries.map((entry) => entry.type)).toEqual(expect.arrayContaining(["turn/started", "turn/ended"]))
    expect(entries.every((entry) => entry.turn === turn.id)).toBe(true)
  })

  it("gives the first turn again for the same key", async () => {
    const ask = async () => values(await creche("ask", "--json", "--key", "once", "demo", "/echo 1"))[0] as WireTurn
    expect((await ask()).id).toBe((await ask()).id)
  })
})

describe("ask --stream of a long answer", () => {
  beforeAll(() => creche("start", "streamer", "--template", "demo"))
  afterAll(async () => {
    await creche("stop", "--kill", "streamer")
    await creche("rm", "streamer")
  })

  it("streams as fast as its reader reads, all of it, without a warning", async () => {
    const streaming = home.spawn(["ask", "--stream", "streamer", `/stream 9000 ${"wait".repeat(25)}`])
    await until("it streams", () => streaming.stdout() !== "")
    streaming.child.stdout!.pause()
    await until("the turn is over or the reader holds it up", async () => {
      const before = streaming.child.stdout!.readableLength
      await creche("ps")
      return streaming.child.stdout!.readableLength === before
    })
    streaming.child.stdout!.resume()
    const streamed = await streaming.ended
    expect(streamed).toMatchObject({ code: 0, stderr: "" })
    expect(streamed.stdout.match(/wait/g)).toHaveLength(9000 * 25)
  })

  it("ends quietly when its reader has seen enough of a stream", async () => {
    const streaming = home.spawn(["ask", "--stream", "streamer", "/stream 20000 x"])
    streaming.child.stdout!.once("data", () => streaming.child.stdout!.destroy())
    expect(await streaming.ended).toMatchObject({ code: 0, stderr: "" })
  })
})

describe("the life of a session", () => {
  it("stop names what could not be killed, and exits 1", async (context) => {
    const started = await creche("start", "traced", "--json", "--", "cat")
    const { pid } = JSON.parse(started.stdout) as WireSession
    // A traced process whose tracer does not look stays unreaped, as one in state D does.
    const trace = `
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
print("seized" if libc.ptrace(0x4206, int(sys.argv[1]), None, None) == 0 else "refused", flush=True)
time.sleep(1000)`
    const tracer = spawn("python3", ["-c", trace, String(pid)], { stdio: ["ignore", "pipe", "ignore"] })
    const said = await new Promise<string>((resolve) => {
      tracer.on("error", () => resolve("refused"))
      tracer.stdout.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()))
    })
    context.skip(said !== "seized", "no python3, or tracing is not allowed here")
    try {
      expect(await creche("stop", "--kill", "traced")).toMatchObject({
        code: 1,
        stdout: `traced is failed; could not be killed: ${pid}\n`,
      })
    } finally {
      tracer.kill("SIGKILL")
    }
    expect(await creche("rm", "traced")).toMatchObject({ code: 0 })
  })

  it("starts, answers, restarts, suspends, resumes, stops and is forgotten", async () => {
    const started = values(await creche("--json", "start", "echo", "--tag", "team=a", "--env", "A=secret", "--", "cat"))
    expect(started[0]).toMatchObject({ name: "echo", status: "ready", spec: { tags: { team: "a" } } })
    expect(JSON.stringify(started)).not.toContain("secret")
    const pid = (started[0] as WireSession).pid

    const restarted = values(await creche("restart", "--json", "echo"))[0] as WireSession
    expect(restarted).toMatchObject({ status: "ready", restarts: 0 })
    expect(restarted.pid).not.toBe(pid)

    expect(await creche("suspend", "echo")).toMatchObject({ code: 0, stdout: "echo is suspended\n" })
    expect(await creche("ask", "echo", "wake up")).toMatchObject({ code: 0, stdout: "wake up\n" })
    await creche("suspend", "echo")
    expect((await creche("resume", "echo")).stdout).toMatch(/^echo is ready, pid \d+\n$/)

    expect(await creche("stop", "echo")).toMatchObject({ code: 0, stdout: "echo is stopped\n" })
    const asked = await creche("ask", "echo", "anyone?")
    expect(asked).toMatchObject({ code: 1, stdout: "" })
    expect(asked.stderr).toContain("`creche restart`")

    expect(await creche("rm", "echo")).toMatchObject({ code: 0, stdout: "echo is removed\n" })
    expect(await creche("logs", "echo")).toMatchObject({ code: 1, stdout: "" })
  })

  it("does what can be done for each of several names, and exits 1 for the one that is missing", async () => {
    await creche("start", "one", "--", "cat")
    const stopped = await creche("stop", "nobody", "one")
    expect(stopped).toMatchObject({ code: 1, stdout: "one is stopped\n" })
    expect(stopped.stderr).toContain("nobody")
    expect((await creche("rm", "one")).code).toBe(0)
  })

  it("takes a spec from a file, and flags on top of it", async () => {
    const file = join(home.directory, "spec.json")
    writeFileSync(file, JSON.stringify({ name: "from-file", command: "cat", restart: "permanent", tags: { x: "1" } }))
    const started = values(await creche("start", "--json", "--spec", "spec.json", "--restart", "temporary"))[0]
    expect(started).toMatchObject({ name: "from-file", spec: { restart: "temporary", tags: { x: "1" } } })
    await creche("stop", "from-file")
    await creche("rm", "from-file")
  })

  it("takes a relative command and directory from where its caller stands", async () => {
    writeFileSync(join(home.directory, "where.sh"), "#!/bin/sh\nwhile read -r line; do pwd; done\n", { mode: 0o755 })
    expect((await creche("start", "where", "--cwd", ".", "--", "./where.sh")).code).toBe(0)
    expect((await creche("ask", "where", "?")).stdout.trim()).toBe(home.directory)
    await creche("stop", "--kill", "where")
    await creche("rm", "where")
  })

  it("says what is wrong with a command that cannot be started, and leaves nothing behind", async () => {
    const missing = await creche("start", "ghost", "--", "no-such-program")
    expect(missing).toMatchObject({ code: 1, stdout: "" })
    expect(missing.stderr).toContain("no-such-program")
    expect((await creche("ps", "-q")).stdout).not.toContain("ghost")
    const twice = await creche("start", "demo", "--", "cat")
    expect(twice.code).toBe(1)
    expect(twice.stderr).toContain("--if-exists return")
  })

  it("cancels a running turn, and says so when none runs", async () => {
    const told = await creche("tell", "demo", "/slow 60000 late")
    expect(told.stdout).toMatch(/^turn_\S+\n$/)
    await until("the turn runs", async () => (await creche("ps", "--status", "busy", "-q")).stdout === "demo\n")
    expect((await creche("cancel", "demo")).stdout).toContain("is cancelled")
    expect(await creche("cancel", "demo")).toMatchObject({ code: 1, stdout: "" })
  })
})

describe("looking at a runtime", () => {
  // A cancelled turn before may have cost the session its process.
  beforeAll(async () => {
    expect(await creche("ask", "demo", "/echo ready")).toMatchObject({ code: 0 })
  })

  it("lists sessions as a table, as names, as JSON, and only those that match", async () => {
    const [title, ...rows] = (await creche("ps")).stdout.trimEnd().split("\n")
    expect(title).toMatch(/^NAME +STATUS +PID +RESTARTS/)
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatch(/^demo +ready +\d+ /)
    expect((await creche("ps", "--quiet")).stdout).toBe("demo\n")
    expect(values(await creche("ps", "--json"))).toMatchObject([{ name: "demo" }])
    expect(await creche("ps", "--tag", "no=such")).toMatchObject({ code: 0, stdout: "" })
  })

  it("draws the tree", async () => {
    expect((await creche("tree")).stdout).toMatch(/^root \(one_for_one\)\n└─ demo ready pid \d+/)
    expect(values(await creche("tree", "--json"))[0]).toMatchObject({ type: "supervisor", path: "root" })
  })

  it("shows stats", async () => {
    expect((await creche("stats")).stdout).toMatch(/^WHAT +VALUE\nsessions +1 ready\n/)
    expect(values(await creche("stats", "--json"))[0].sessions.ready).toBe(1)
  })

  it("prints the transcript from any place, all of it also over a page", async () => {
    const all = values(await creche("logs", "--json", "demo")) as Array<WireEntry>
    expect(all.map((entry) => entry.seq)).toEqual(all.map((_, at) => at + 1))
    const rest = values(await creche("logs", "--json", "--after", "3", "demo")) as Array<WireEntry>
    expect(rest[0]?.seq).toBe(4)
    const ends = values(await creche("logs", "--json", "--type", "turn/ended", "demo")) as Array<WireEntry>
    expect(new Set(ends.map((entry) => entry.type))).toEqual(new Set(["turn/ended"]))
    const turn = ends[0]!.turn!
    const one = values(await creche("logs", "--json", "--turn", turn, "demo")) as Array<WireEntry>
    expect(one.every((entry) => entry.turn === turn)).toBe(true)
    const lines = (await creche("logs", "demo")).stdout.trimEnd().split("\n")
    expect(lines.length).toBeGreaterThanOrEqual(all.length)
  })

  it("follows a transcript until it is interrupted, and exits 0", async () => {
    const following = home.spawn(["logs", "-f", "--json", "demo"])
    await creche("ask", "demo", "/echo followed")
    await until("the turn is in the log", () => following.stdout().includes('"followed"'))
    following.child.kill("SIGINT")
    const followed = await following.ended
    expect(followed).toMatchObject({ code: 0, signal: null, stderr: "" })
    const seqs = (values(followed) as Array<WireEntry>).map((entry) => entry.seq)
    expect(seqs).toEqual(seqs.map((_, at) => at + 1))
  })

  it("follows a transcript until its session is removed, and exits 0", async () => {
    await creche("start", "short-lived", "--", "cat")
    const following = home.spawn(["logs", "-f", "--json", "short-lived"])
    await until("it follows", () => following.stdout().includes('"ready"'))
    await creche("rm", "short-lived")
    const followed = await following.ended
    expect(followed).toMatchObject({ code: 0, signal: null, stderr: "the session short-lived was removed\n" })
    expect((values(followed) as Array<WireEntry>).at(-1)).toMatchObject({ type: "status", status: "stopped" })
  })

  it("shows the control characters of a child and does not send them on", async () => {
    await creche("ask", "demo", "/echo \u001b[31mred\u0007")
    const { stdout } = await creche("logs", "demo")
    expect(stdout).toContain("\\e[31mred\\x07")
    // oxlint-disable-next-line no-control-regex
    expect(stdout).not.toMatch(/[\u001b\u0007]/)
  })

  it("ends quietly when its reader has seen enough", async () => {
    const reading = home.spawn(["logs", "--json", "demo"])
    reading.child.stdout?.destroy()
    expect(await reading.ended).toMatchObject({ code: 0, stderr: "" })
  })

  it("finds nothing wrong in doctor, which knows the runtime", async () => {
    const doctor = await creche("doctor", "--json")
    const { usable, findings } = JSON.parse(doctor.stdout) as {
      usable: boolean
      findings: Array<{ what: string; status: string; detail: string; remedy?: string }>
    }
    expect(doctor.code).toBe(usable ? 0 : 1)
    expect(usable).toBe(true)
    expect(findings.find((finding) => finding.what === "runtime")).toMatchObject({ status: "ok" })
    for (const finding of findings) if (finding.status !== "ok") expect(finding.remedy).toBeTypeOf("string")
    expect((await creche("doctor")).stdout).toContain("creche can work here")
  })
})

describe("failures", () => {
  it.each([
    [["ask", "nobody", "hi"]],
    [["logs", "nobody"]],
    [["stop", "nobody"]],
    [["restart", "nobody"]],
    [["suspend", "nobody"]],
    [["resume", "nobody"]],
    [["rm", "nobody"]],
    [["cancel", "nobody"]],
    [["tell", "nobody", "hi"]],
  ])("%j names what is missing, on stderr alone, and exits 1", async (args) => {
    const outcome = await home.run(args)
    expect(outcome).toMatchObject({ code: 1, stdout: "" })
    expect(outcome.stderr).toContain('no session is called "nobody"; `creche ps` shows those there are')
    const json = await home.run([...args, "--json"])
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { tag: "SessionNotFound", session: "nobody" } })
  })

  it.each([
    [["start", "a/b", "--", "cat"], "name"],
    [["start", "x", "--protocol", "morse", "--", "cat"], "protocol"],
    [["start", "x", "--protocol", "{bad", "--", "cat"], "--protocol"],
    [["start", "x", "--", ""], "command"],
    [["start", "x"], "command"],
    [["start", "x", "cat"], "put -- before"],
    [["start", "x", "--tag", "novalue", "--", "cat"], "--tag"],
    [["start", "x", "--turn-timeout-ms", "0", "--", "cat"], "turnTimeoutMs"],
    [["start", "x", "--turn-timeout-ms", "-5", "--", "cat"], "--turn-timeout-ms"],
    [["ask", "demo", "x", "--timeout-ms", "0"], "--timeout-ms"],
    [["logs", "demo", "--type", "gossip"], "types"],
    [["bogus"], "bogus"],
    [["ps", "--bogus"], "--bogus"],
    [["ask"], "session"],
    [["ask", "demo"], "prompt"],
    [[], "USAGE"],
  ])("%j is wrong usage: exit 2, %j named on stderr, nothing on stdout", async (args, named) => {
    const outcome = await home.run(args)
    expect(outcome).toMatchObject({ code: 2, stdout: "" })
    expect(outcome.stderr).toContain(named)
  })

  it.each([
    [["bogus", "--json"], "bogus"],
    [["--json", "ps", "--bogus"], "--bogus"],
    [["ask", "--json"], "session"],
    [["--json"], "USAGE"],
    [["start", "--json", "x"], "command"],
    [["ask", "demo", "x", "--json", "--timeout-ms", "0"], "--timeout-ms"],
  ])("%j is wrong usage as one JSON object on stderr that names %j", async (args, named) => {
    const outcome = await home.run(args)
    expect(outcome).toMatchObject({ code: 2, stdout: "" })
    expect(outcome.stderr.trimEnd().split("\n")).toHaveLength(1)
    const { error } = JSON.parse(outcome.stderr) as { error: { tag: string; message: string } }
    expect(error.tag).toBe("WrongUsage")
    expect(error.message).toContain(named)
  })

  it("says how to start a runtime where none listens", async () => {
    const socket = join(home.directory, "none.sock")
    for (const args of [["ps"], ["ask", "demo", "hi"], ["logs", "-f", "demo"]]) {
      const outcome = await home.run([...args, "--socket", socket])
      expect(outcome).toMatchObject({ code: 1, stdout: "" })
      expect(outcome.stderr).toContain(`no runtime is listening on ${socket}; start one with \`creche serve\``)
    }
    writeFileSync(socket, "")
    expect((await home.run(["ps", "--socket", socket])).code).toBe(1)
  })

  it("does not speak to a runtime with another data directory than the one named", async () => {
    const env = { XDG_RUNTIME_DIR: home.data, CRECHE_DATA: join(home.directory, "other") }
    const outcome = await home.run(["ps"], { env })
    expect(outcome).toMatchObject({ code: 1, stdout: "" })
    expect(outcome.stderr).toContain("--socket")
    expect(await home.run(["ps", "-q"], { env: { ...env, CRECHE_DATA: home.data } })).toMatchObject({
      stdout: "demo\n",
    })
  })
})
