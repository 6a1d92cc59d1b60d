import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { validate } from "dockerfile-utils"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { parse } from "yaml"
import { commands } from "../../src/cli/Commands.ts"
import { fastParse } from "../../src/cli/FastParse.ts"
import { bin } from "../acceptance/ServedRuntime.ts"
import { eventually } from "../acceptance/Processes.ts"
import { lastStage } from "../support/Dockerfile.ts"
import { isPrivate } from "../../src/transport/Tokens.ts"

const root = fileURLToPath(new URL("../../", import.meta.url))
const read = (file: string) => readFileSync(join(root, file), "utf8")
const units = ["deploy/systemd/creche.service", "deploy/systemd/user/creche.service"] as const

/** `creche …`: parsed as the command line would. */
const isCommand = (words: ReadonlyArray<string>): boolean =>
  words[0] === "creche" && fastParse(words.slice(1)) !== undefined

const settingsOf = (unit: string): ReadonlyMap<string, string> =>
  new Map(
    unit
      .split("\n")
      .filter((line) => /^[A-Z]\w+=/.test(line))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  )

let directory = ""
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "creche-deploy-"))))
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))

describe.each(units)("%s", (file) => {
  it("starts creche with flags that it has", () => {
    const start = settingsOf(read(file)).get("ExecStart")!
    const words = /creche [^']+/.exec(start)![0].trim().split(/\s+/)
    expect(isCommand(words), start).toBe(true)
    expect(Object.keys(commands.serve.flags)).toEqual(
      expect.arrayContaining(words.filter((word) => word.startsWith("--")).map((word) => word.slice(2))),
    )
  })

  it("has what creche needs, and nothing that breaks it", () => {
    const settings = settingsOf(read(file))
    expect(Object.fromEntries(settings)).toMatchObject({
      Type: "notify",
      NotifyAccess: "all",
      KillMode: "mixed",
      OOMPolicy: "continue",
      Delegate: "yes",
      Restart: "on-failure",
    })
    const drainMs = Number(/--drain (\d+)/.exec(settings.get("ExecStart")!)![1])
    expect(Number(settings.get("TimeoutStopSec")) * 1000).toBeGreaterThan(drainMs + 30_000)
    for (const breaks of ["MemoryDenyWriteExecute", "ProtectControlGroups", "ProcSubset"]) {
      expect(settings.has(breaks), breaks).toBe(false)
    }
  })

  it("is understood by systemd", (context) => {
    if (spawnSync("systemd-analyze", ["--version"]).status !== 0) context.skip("there is no systemd-analyze")
    // The program that it starts need not be installed here.
    const unit = join(directory, "creche.service")
    writeFileSync(unit, read(file).replace(/^User=.*\n|^Group=.*\n/gm, ""))
    const scope = file.includes("/user/") ? ["--user"] : []
    const { status, stderr } = spawnSync("systemd-analyze", [...scope, "verify", "--man=no", unit], {
      encoding: "utf8",
      env: { ...process.env, XDG_RUNTIME_DIR: directory },
    })
    const complaints = stderr.split("\n").filter((line) => line.includes("creche.service"))
    expect(
      complaints.filter((line) => !line.includes("DelegateSubgroup")),
      stderr,
    ).toEqual([])
    if (complaints.length === 0 && status !== 0) context.skip(`systemd-analyze does not work here: ${stderr.trim()}`)
    expect(status, stderr).toBe(0)
  })
})

describe("deploy/Dockerfile", () => {
  const text = read("deploy/Dockerfile")
  const stage = lastStage(text)

  it("has nothing that a linter of Dockerfiles complains of", () => {
    expect(validate(text)).toEqual([])
    expect(validate("FROM a\nRUNN b")).not.toEqual([])
  })

  it("runs without privileges, with its data in a volume, and with flags that there are", () => {
    expect(stage.user).toBe("creche")
    expect(stage.volumes).toEqual([stage.env["CRECHE_DATA"]])
    expect(isCommand([...stage.entrypoint, ...stage.cmd])).toBe(true)
    const ignored = read("deploy/Dockerfile.dockerignore").split("\n")
    expect(ignored).toEqual(expect.arrayContaining([".git", "node_modules", "dist", "native/build"]))
  })

  it("starts, is healthy by its own check, and ends in order, by the words that stand in it", async () => {
    const port = 20_000 + (process.pid % 20_000)
    const here = (word: string) =>
      word
        .replaceAll("0.0.0.0:8420", `127.0.0.1:${port}`)
        .replaceAll("127.0.0.1:8420", `127.0.0.1:${port}`)
        .replaceAll("/data", join(directory, "data"))
        .replaceAll("/run/creche", directory)
    const env = {
      PATH: process.env["PATH"],
      HOME: directory,
      ...Object.fromEntries(Object.entries(stage.env).map(([name, value]) => [name, here(value)])),
    }
    const run = (words: ReadonlyArray<string>) => {
      const [program, ...args] = words.map(here)
      return spawnSync(process.execPath, program === "creche" ? [bin, ...args] : args, { env, encoding: "utf8" })
    }
    const compose = read("deploy/compose.yaml")
    const [, make] = /run --rm (creche token create .*)$/m.exec(compose)!
    // The service's name, then the words for its entrypoint.
    const created = run(["creche", ...make!.split(" ").slice(1)])
    expect([created.status, created.stderr]).toEqual([0, expect.any(String)])
    expect(created.stdout).toMatch(/^creche_/)
    expect(run(stage.healthcheck).status).toBe(1)
    const serving = spawn(process.execPath, [bin, ...stage.cmd.map(here)], { env, stdio: ["ignore", "ignore", "pipe"] })
    let log = ""
    serving.stderr.setEncoding("utf8").on("data", (more: string) => (log += more))
    const ended = new Promise<number | null>((resolve) => serving.once("exit", resolve))
    try {
      await eventually(`it is healthy: ${log}`, () => run(stage.healthcheck).status === 0)
      serving.kill("SIGTERM")
      expect(await ended, log).toBe(0)
      for (const line of log.trimEnd().split("\n")) expect(() => JSON.parse(line) as unknown, line).not.toThrow()
    } finally {
      serving.kill("SIGKILL")
      await ended
    }
  })
})

describe("deploy/compose.yaml", () => {
  const { services, volumes } = parse(read("deploy/compose.yaml"))

  it("gives the image a volume for its data, a port for this machine alone, and time to end", () => {
    const { creche } = services
    const stage = lastStage(read("deploy/Dockerfile"))
    expect(Object.keys(services)).toEqual(["creche"])
    expect(creche.volumes).toEqual([`data:${stage.env["CRECHE_DATA"]}`])
    expect(Object.keys(volumes)).toEqual(["data"])
    expect(creche.ports).toEqual(["127.0.0.1:8420:8420"])
    expect(existsSync(join(root, "deploy", creche.build.context, creche.build.dockerfile))).toBe(true)
    const drainMs = Number(stage.cmd[stage.cmd.indexOf("--drain") + 1])
    expect(Number.parseInt(creche.stop_grace_period) * 1000).toBeGreaterThan(drainMs + 30_000)
    expect(creche.init).toBeUndefined()
  })
})

describe("docs/deploy.md", () => {
  it("names settings that the units have, and commands and flags that there are", () => {
    const text = read("docs/deploy.md")
    const settings = new Set(units.flatMap((file) => [...settingsOf(read(file)).keys()]))
    const table = text.slice(text.indexOf("| line | why |"), text.indexOf("Three settings must stay away"))
    const named = [...table.matchAll(/`([A-Z]\w+)=?[^`]*`/g)].map(([, name]) => name!)
    for (const name of named.filter((each) => !each.startsWith("CRECHE") && each !== "ReadWritePaths")) {
      expect([...settings], name).toContain(name)
    }
    const [, args] = /args: (\[.*\])/.exec(text)!
    expect(isCommand(["creche", ...(parse(args!) as ReadonlyArray<string>)])).toBe(true)
  })
})

describe("the pod of docs/deploy.md", () => {
  const [, snippet = ""] = /```yaml\n(spec:[^]*?)```/.exec(read("docs/deploy.md")) ?? []
  const { containers, securityContext, volumes } = parse(snippet).spec
  const [{ args, env, volumeMounts }] = containers
  const mounts: ReadonlyArray<string> = volumeMounts.map(({ mountPath }: { mountPath: string }) => mountPath)
  const isMounted = (path: string) => mounts.some((mount) => path.startsWith(`${mount}/`))

  it("mounts what its command names, and makes its data directory itself", () => {
    expect(isMounted(args[args.indexOf("--token-file") + 1])).toBe(true)
    // The root of a volume belongs to root, and is refused as a data directory.
    expect(isMounted(env.find(({ name }: { name: string }) => name === "CRECHE_DATA").value)).toBe(true)
    expect(volumes.map(({ name }: { name: string }) => name)).toEqual(["data", "tokens"])
  })

  it("has its tokens in files that creche takes", () => {
    const { defaultMode } = volumes[1].secret
    // As YAML of Kubernetes reads it: with a leading zero it is octal.
    const mode = Number.parseInt(String(defaultMode), 8)
    expect(isPrivate({ mode, uid: 0 }, securityContext.runAsUser)).toBe(true)
  })
})
