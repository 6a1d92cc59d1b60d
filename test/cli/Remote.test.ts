import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { spawnByHand } from "../transport/McpPeer.ts"
import { bin, Home, type Outcome, until } from "./Cli.ts"

/** The runtime's machine, and that of whoever speaks to it from elsewhere. */
let there: Home
let here: Home
let url = ""
let token = ""

beforeAll(async () => {
  there = new Home()
  here = new Home()
  const serving = await there.serve("--http", "127.0.0.1:0")
  url = /http:\/\/127\.0\.0\.1:\d+/.exec(serving.stderr())![0]
  token = (await there.run(["token", "create", "elsewhere", "--scope", "admin"])).stdout.trim()
})
afterAll(async () => {
  await here.dispose()
  await there.dispose()
})

const env = () => ({ CRECHE_URL: url, CRECHE_TOKEN: token, CRECHE_DATA: "" })
const run = (...args: ReadonlyArray<string>): Promise<Outcome> => here.run(args, { env: env() })

describe("a command line with a runtime elsewhere", () => {
  it("starts, asks, streams, lists, follows and stops there", async () => {
    expect((await run("start", "echo", "--", "cat")).code).toBe(0)
    expect(await run("ask", "echo", "grüße")).toMatchObject({ code: 0, stdout: "grüße\n", stderr: "" })
    expect((await run("start", "demo", "--template", "demo")).code).toBe(0)
    expect((await run("ask", "--stream", "demo", "/stream 3 word")).stdout).toContain("word word word")
    expect((await run("ps")).stdout).toContain("echo")
    expect(JSON.parse((await run("ps", "--json", "--status", "ready")).stdout.split("\n")[0]!)).toMatchObject({
      name: "echo",
    })
    const following = here.spawn(["logs", "-f", "echo", "--json"], env())
    await until("it follows", () => following.stdout().includes("grüße"))
    await run("ask", "echo", "later")
    await until("it goes on", () => following.stdout().includes("later"))
    following.child.kill("SIGINT")
    await following.ended
    expect((await there.run(["ps"])).stdout).toContain("echo")
    expect((await run("stop", "echo", "demo")).code).toBe(0)
  })

  it("takes flags before variables", async () => {
    const flags = ["--url", url, "--token", token]
    expect(await here.run(["ps", ...flags])).toMatchObject({ code: 0 })
    const wrong = { CRECHE_URL: "http://127.0.0.1:1", CRECHE_TOKEN: "x" }
    expect(await here.run([...flags, "stats"], { env: wrong })).toMatchObject({ code: 0 })
    // What is named here is meant, whatever the variable says.
    expect((await here.run(["ps", "--socket", "/nowhere/s"], { env: env() })).stderr).toContain("/nowhere/s")
  })

  it("says what is wrong, and never the token", async () => {
    const failures = [
      [await here.run(["ps", "--url", url]), 1, "CRECHE_TOKEN"],
      [await here.run(["ps", "--url", url, "--token", `creche_${"0".repeat(12)}_${"0".repeat(64)}`]), 1, "not valid"],
      [await here.run(["ps", "--url", "http://127.0.0.1:1"]), 1, "nobody listens"],
      [await here.run(["ps", "--url", "127.0.0.1"]), 2, "--url must be a URL"],
      [await here.run(["ps"], { env: { CRECHE_URL: "nonsense" } }), 2, "CRECHE_URL must be a URL"],
      [await here.run(["ps", "--url", url, "--socket", "/s"]), 2, "goes without"],
      [await here.run(["ps", "--token", token]), 2, "goes with --url"],
      [await here.run(["serve", "--url", url]), 2, "that runs"],
      [await run("get"), 2, ""],
      [await run("ask", "nobody", "x"), 1, "nobody"],
    ] as const
    for (const [{ code, stderr, stdout }, wanted, words] of failures) {
      expect([code, stderr]).toEqual([wanted, expect.stringContaining(words)])
      expect(stderr + stdout).not.toContain(token.slice(20))
      expect(stderr).not.toContain("bug")
    }
    expect((await run("doctor")).stdout).toContain("is running, pid")
    expect((await here.run(["doctor", "--url", url, "--token", "x"])).stdout).toContain("CRECHE_TOKEN")
  })

  it("serves it as MCP here", async () => {
    const { PATH = "" } = process.env
    const command = { command: process.execPath, args: [bin, "mcp"], cwd: here.directory }
    const peer = await spawnByHand({ ...command, env: { PATH, HOME: here.directory, ...env() } })
    await peer.call("session_start", { name: "tool", command: "cat" })
    expect((await peer.call("session_ask", { session: "tool", prompt: "hi" })).content[0].text).toBe("hi")
    await peer.close()
  })
})
