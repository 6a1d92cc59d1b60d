import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { chmodSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Home, type Outcome, processesWith, until } from "./Cli.ts"

let home: Home
beforeEach(() => {
  home = new Home()
})
afterEach(() => home.dispose())

const onLinux = process.platform === "linux"
const hasGuard = findGuardBinary().found

const entriesOf = ({ stdout }: Outcome): ReadonlyArray<unknown> =>
  stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line))

describe("serve", () => {
  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "ends at %s with exit code 0, no socket and no descendant, also of a tree that ignores SIGTERM",
    async (signal) => {
      const serving = await home.serve("--demo")
      expect(statSync(home.socket).mode & 0o077).toBe(0)
      // What left the process group by setsid is only in reach of the guard.
      expect((await home.run(["ask", "demo", hasGuard ? "/fork 3 setsid" : "/fork 3"])).code).toBe(0)
      expect((await home.run(["start", "echo", "--", "cat"])).code).toBe(0)
      if (onLinux) expect(processesWith(home.mark).length).toBeGreaterThanOrEqual(6)
      serving.child.kill(signal)
      expect(await serving.ended).toMatchObject({ code: 0, signal: null, stdout: "" })
      expect(existsSync(home.socket)).toBe(false)
      if (onLinux) expect(processesWith(home.mark)).toEqual([])
    },
  )

  it("says where it listens, what holds, and what to try, on stderr alone", async () => {
    const serving = await home.serve("--demo")
    expect(serving.stdout()).toBe("")
    expect(serving.stderr()).toContain(home.socket)
    expect(serving.stderr()).toContain("containment")
    expect(serving.stderr()).toContain("ask demo hello")
  })

  it("leaves the first runtime alone when a second one wants its data directory", async () => {
    await home.serve("--demo")
    const second = await home.run(["serve"])
    expect(second).toMatchObject({ code: 1, stdout: "" })
    expect(second.stderr).toMatch(/^creche serve: /)
    expect(second.stderr).not.toContain("bug")
    expect((await home.run(["ask", "demo", "/echo still here"])).stdout).toBe("still here\n")
  })

  it("serves again where one was killed with SIGKILL", async () => {
    const first = await home.serve("--demo")
    first.child.kill("SIGKILL")
    await first.ended
    if (onLinux) await until("the killed runtime's processes are gone", () => processesWith(home.mark).length === 0)
    expect(existsSync(home.socket)).toBe(true)
    await home.serve("--demo")
    expect((await home.run(["ask", "demo", "/echo back"])).stdout).toBe("back\n")
  })

  it("keeps sessions and what they were asked for the next one, also where it was killed with SIGKILL", async () => {
    let serving = await home.serve()
    await home.run(["start", "echo", "--", "cat"])
    await home.run(["ask", "echo", "first"])
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const before = entriesOf(await home.run(["export", "echo"]))
      serving.child.kill(signal)
      await serving.ended
      serving = await home.serve()
      expect((await home.run(["history", "echo"])).stdout).toContain("first")
      expect((await home.run(["search", "first"])).stdout).toContain("echo: first")
      // As values: the order of an entry's fields may be another once it comes from the disk.
      const after = entriesOf(await home.run(["export", "echo"]))
      expect(after.slice(0, before.length)).toEqual(before)
      expect((await home.run(["ps"])).stdout).toMatch(/^echo +suspended \(runtime\)/m)
      expect((await home.run(["ask", "echo", "again"])).stdout).toBe("again\n")
    }
    expect((await home.run(["history", "echo"])).stdout.match(/(first|again)$/gm)).toEqual(["first", "again", "again"])
  })

  it("keeps nothing with --memory, and no database", async () => {
    const serving = await home.serve("--memory")
    await home.run(["start", "echo", "--", "cat"])
    expect((await home.run(["ask", "echo", "hi"])).stdout).toBe("hi\n")
    expect((await home.run(["stats"])).stdout).toMatch(/^store .* in memory$/m)
    serving.child.kill("SIGTERM")
    expect(await serving.ended).toMatchObject({ code: 0 })
    expect(readdirSync(home.data).filter((name) => name.includes(".db"))).toEqual([])
    await home.serve("--memory")
    expect((await home.run(["ps", "-q"])).stdout).toBe("")
  })

  it("ends what followed a transcript, with exit code 1, and answers what was asked", async () => {
    const serving = await home.serve("--demo")
    const following = home.spawn(["logs", "-f", "demo"])
    const asking = home.spawn(["ask", "demo", "/slow 60000 late"])
    await until("the turn is followed", () => following.stdout().includes("turn/started"))
    serving.child.kill("SIGTERM")
    expect(await serving.ended).toMatchObject({ code: 0 })
    const followed = await following.ended
    expect(followed.code).toBe(1)
    expect(followed.stderr).toContain("the runtime closed the connection")
    const asked = await asking.ended
    expect(asked).toMatchObject({ code: 1, stdout: "" })
    expect(asked.stderr).toMatch(/^creche ask: the turn /)
  })

  it("refuses a data directory that holds somebody's files and is open to others, and leaves it as it is", async () => {
    chmodSync(home.directory, 0o755)
    writeFileSync(join(home.directory, "thesis.txt"), "")
    const refused = await home.run(["serve", "--data", "."])
    expect(refused).toMatchObject({ code: 1, stdout: "" })
    expect(refused.stderr).toContain(`chmod 700 ${home.directory}`)
    expect(statSync(home.directory).mode & 0o777).toBe(0o755)
  })

  it("says what is wrong with a data directory that is a file, and with a socket path that is too long", async () => {
    const file = await home.run(["serve", "--data", process.execPath])
    expect(file).toMatchObject({ code: 1, stdout: "" })
    expect(file.stderr).not.toContain("bug")
    const long = await home.run(["serve", "--socket", join(home.directory, "x".repeat(120))])
    expect(long).toMatchObject({ code: 1, stdout: "" })
    expect(long.stderr).toContain("--socket")
  })
})

describe("stdio", () => {
  it("answers on stdout, and at the end of stdin exits 0 with nothing left", async () => {
    const running = home.spawn(["stdio"], { CRECHE_DATA: "" })
    const send = (id: number, method: string, params: object) =>
      running.child.stdin!.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`)
    send(1, "session/start", { name: "echo", command: "cat" })
    await until("the session is ready", () => running.stdout().includes('"id":1'))
    send(2, "session/ask", { session: "echo", prompt: "over stdio" })
    await until("the answer came", () => running.stdout().includes('"id":2'))
    running.child.stdin!.end()
    const outcome = await running.ended
    expect(outcome).toMatchObject({ code: 0, signal: null })
    const answers = outcome.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { id: number; result: any })
    expect(answers.find((answer) => answer.id === 2)?.result.text).toBe("over stdio")
    if (onLinux) expect(processesWith(home.mark)).toEqual([])
  })
})

describe("stdio with a data directory", () => {
  it("keeps sessions for the next one there, and for serve", async () => {
    const asked = async (requests: ReadonlyArray<object>) => {
      const running = home.spawn(["stdio", "--data", home.data], { CRECHE_DATA: "" })
      const results: Array<any> = []
      for (const [id, request] of requests.entries()) {
        running.child.stdin!.write(`${JSON.stringify({ jsonrpc: "2.0", id, ...request })}\n`)
        const answer = () =>
          running
            .stdout()
            .split("\n")
            .slice(0, -1)
            .map((line) => JSON.parse(line))
            .find((message) => message.id === id)
        await until(`answer ${id}`, () => answer() !== undefined)
        results.push(answer().result)
      }
      running.child.stdin!.end()
      expect(await running.ended).toMatchObject({ code: 0 })
      return results
    }
    const start = { method: "session/start", params: { name: "echo", command: "cat" } }
    const ask = { method: "session/ask", params: { session: "echo", prompt: "over stdio" } }
    await asked([start, ask])
    const [history] = await asked([{ method: "session/history", params: { session: "echo" } }])
    expect(history.turns).toMatchObject([{ prompt: "over stdio", text: "over stdio" }])
    await home.serve()
    expect((await home.run(["search", "stdio"])).stdout).toContain("echo: over stdio")
  })
})

describe("demo", () => {
  it("plays the whole scene and leaves nothing behind", async () => {
    const played = await home.run(["demo"])
    expect(played).toMatchObject({ code: 0, stderr: "" })
    expect(played.stdout.split("\n").map((line) => line.split("  ")[0]!.trim())).toEqual(
      expect.arrayContaining(["start", "ask", "kill -9", "restart", "stop", "after"]),
    )
    if (onLinux) expect(processesWith(home.mark)).toEqual([])
  })

  it("tells the same as JSON", async () => {
    const played = await home.run(["--json", "demo"])
    const steps = played.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { step: string; left?: Array<number> })
    expect(steps.at(-1)).toMatchObject({ step: "after", left: [] })
  })
})

describe("what needs no runtime", () => {
  it("prints help, versions and completions on stdout", async () => {
    for (const args of [
      ["--help"],
      ["-h"],
      ["ask", "--help"],
      ["--version"],
      ["completions", "bash"],
      ["completions", "fish"],
    ]) {
      const outcome = await home.run(args)
      expect(outcome, args.join(" ")).toMatchObject({ code: 0, stderr: "" })
      expect(outcome.stdout).toContain("creche")
    }
  })

  it("gives each shell a script that the shell itself can read", async (context) => {
    const { spawnSync } = await import("node:child_process")
    const { stdout } = await home.run(["completions", "bash"])
    const bash = spawnSync("bash", ["-n"], { input: stdout, encoding: "utf8" })
    context.skip(bash.error !== undefined, "no bash here")
    expect(bash).toMatchObject({ status: 0, stderr: "" })
  })
})
