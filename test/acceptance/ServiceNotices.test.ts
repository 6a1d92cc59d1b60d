import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { bin } from "../cli/Cli.ts"
import { eventually, noGuard } from "./Processes.ts"
import { markedProcesses, ServedRuntime } from "./ServedRuntime.ts"

const script = fileURLToPath(new URL("../support/ServiceManager.py", import.meta.url))
const noPython =
  spawnSync("python3", ["-c", "import socket; socket.AF_UNIX"]).status === 0 ? undefined : "there is no python3"
const unable = process.platform === "linux" ? noPython : "only Linux has systemd"

let directory = ""
let manager: ChildProcess | undefined
let messages: Array<string> = []
let runtimes: Array<ServedRuntime> = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-notify-"))
  mkdirSync(join(directory, "data"), { mode: 0o700 })
  messages = []
  runtimes = []
})
afterEach(async () => {
  for (const { child, ended } of runtimes) {
    child.kill("SIGKILL")
    await ended
  }
  manager?.kill("SIGKILL")
  await eventually("nothing is left", () => markedProcesses(...runtimes).length === 0, 5000)
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

/** Answers the address on which it listens. */
const listen = async (address: string): Promise<string> => {
  manager = spawn("python3", [script, address], { stdio: ["ignore", "pipe", "inherit"] })
  let rest = ""
  manager.stdout!.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n")
    rest = lines.pop()!
    messages.push(...lines.map((line) => JSON.parse(line) as string))
  })
  await eventually("it listens", () => messages.shift() === "bound")
  return address
}

const serve = (env: NodeJS.ProcessEnv, ...flags: ReadonlyArray<string>) => {
  const runtime = new ServedRuntime(join(directory, "data"), flags, { socket: join(directory, "s"), env })
  runtimes.push(runtime)
  return runtime
}
const said = (text: string) => messages.filter((message) => message.split("\n").includes(text)).length
const pings = () => said("WATCHDOG=1")

const ways: ReadonlyArray<readonly [string, NodeJS.ProcessEnv, string | undefined]> = [
  ["the guard", {}, noGuard],
  [
    "systemd-notify, where there is no guard",
    { CRECHE_GUARD: "/nonexistent" },
    spawnSync("systemd-notify", ["--version"]).status === 0 ? undefined : "there is no systemd-notify",
  ],
]

describe.skipIf(unable !== undefined)("a service manager", () => {
  for (const [way, env, missing] of ways) {
    it(`hears through ${way} that the runtime is ready, that it is well, and that it ends`, async (context) => {
      if (missing !== undefined) context.skip(missing)
      const NOTIFY_SOCKET = await listen(join(directory, "notify"))
      const runtime = serve({ ...env, NOTIFY_SOCKET, WATCHDOG_USEC: "200000" }, "--drain", "100")
      await eventually("READY", () => said("READY=1") === 1)
      await runtime.listening()
      expect(messages.find((message) => message.includes("READY=1"))).toMatch(
        /^STATUS=listening on \S+; containment \w+$/m,
      )
      await eventually("the watchdog", () => pings() >= 5)
      runtime.child.kill("SIGTERM")
      expect(await runtime.ended).toEqual({ code: 0, signal: null })
      await eventually("STOPPING", () => said("STOPPING=1") === 1)
      expect(messages.find((message) => message.includes("STOPPING=1"))).toMatch(/^EXTEND_TIMEOUT_USEC=90100000$/m)
    })
  }

  it("may listen in the abstract namespace", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const NOTIFY_SOCKET = await listen(`@creche-${process.pid}-${Date.now()}`)
    serve({ NOTIFY_SOCKET })
    await eventually("READY", () => said("READY=1") === 1)
    expect(pings()).toBe(0)
  })

  it("hears nothing of a runtime that hangs, until it goes on", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const NOTIFY_SOCKET = await listen(join(directory, "notify"))
    const runtime = serve({ NOTIFY_SOCKET, WATCHDOG_USEC: "100000" })
    await eventually("the watchdog", () => pings() >= 3)
    runtime.child.kill("SIGSTOP")
    await eventually("it stands still", () =>
      /^State:\s+T/m.test(readFileSync(`/proc/${runtime.pid}/status`, "latin1")),
    )
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = pings()
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(pings()).toBe(before)
    runtime.child.kill("SIGCONT")
    await eventually("the watchdog again", () => pings() > before)
  })

  it("is not the children's to talk to, nor is its watchdog that of another process", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const NOTIFY_SOCKET = await listen(join(directory, "notify"))
    const runtime = serve({ NOTIFY_SOCKET, WATCHDOG_USEC: "100000", WATCHDOG_PID: "1" })
    await eventually("READY", () => said("READY=1") === 1)
    const client = await runtime.connect()
    await client.start({
      name: "a",
      command: "sh",
      args: ["-c", "read line; env | tr '\\n' ' '; echo"],
      inheritEnv: "all",
    })
    const { text } = await client.ask({ session: "a", prompt: "env" })
    expect(text).toContain("PATH=")
    expect(text).not.toMatch(/NOTIFY_SOCKET|WATCHDOG/)
    expect(pings()).toBe(0)
  })

  it("hears a runtime under a guard of its own, whose watchdog is meant for the guard", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const NOTIFY_SOCKET = await listen(join(directory, "notify"))
    const options = ["--data", join(directory, "data"), "--socket", join(directory, "s")]
    const command = [process.execPath, bin, "serve", "--init", ...options].map((word) => `'${word}'`).join(" ")
    const child = spawn("sh", ["-c", `export WATCHDOG_PID=$$; exec ${command}`], {
      env: { PATH: process.env["PATH"] ?? "", HOME: directory, NOTIFY_SOCKET, WATCHDOG_USEC: "100000" },
      stdio: "ignore",
    })
    await eventually("READY and the watchdog", () => said("READY=1") === 1 && pings() >= 3)
    child.kill("SIGTERM")
    const [code] = (await once(child, "exit")) as [number | null]
    expect([code, said("STOPPING=1")]).toEqual([0, 1])
  })

  it("leaves nothing behind where the runtime is killed, and ends nothing where it listens no more", async (context) => {
    if (noGuard !== undefined) context.skip(noGuard)
    const NOTIFY_SOCKET = await listen(join(directory, "notify"))
    const runtime = serve({ NOTIFY_SOCKET, WATCHDOG_USEC: "50000" })
    await eventually("the watchdog", () => pings() >= 2)
    manager!.kill("SIGKILL")
    const client = await runtime.connect()
    await client.start({ name: "a", command: "cat" })
    for (let i = 0; i < 20; i++) expect((await client.ask({ session: "a", prompt: `${i}` })).text).toBe(`${i}`)
    await runtime.kill("SIGKILL")
    await eventually("nothing is left", () => markedProcesses(runtime).length === 0, 5000)
  })
})
