import { spawnSync } from "node:child_process"
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { findPerlGuard } from "../../src/process/PerlGuard.ts"
import { eventually, fixture, freshToken, killIfThere, noTree, pidsWith } from "../process/SpawnerBench.ts"
import { guard, Watched } from "../spawn/GuardedCommand.ts"
import { bin } from "./Cli.ts"

let token: string
let scratch: string
beforeEach(() => {
  token = freshToken()
  scratch = mkdtempSync(join(tmpdir(), "creche-guard-"))
})
afterEach(() => {
  for (const pid of pidsWith(token)) killIfThere(pid)
  rmSync(scratch, { recursive: true, force: true })
})
const nothingLeft = () => eventually("nothing left", () => pidsWith(token).length === 0)

describe.skipIf(noTree !== "")(`creche guard${noTree && ` (${noTree})`}`, () => {
  const creche = (...args: ReadonlyArray<string>) => new Watched(process.execPath, [bin, "guard", ...args])

  it("ends as the command does", async () => {
    expect(await creche("--", "sh", "-c", "exit 42").ended).toEqual({ code: 42, signal: null })
    expect(await creche("--", "sh", "-c", "kill -USR1 $$").ended).toEqual({ code: null, signal: "SIGUSR1" })
    expect((await creche("--", "creche-no-such-command").ended).code).toBe(127)
  })

  it("no Node stays: the guard is the very process that was started", async () => {
    const running = creche("--", "sh", "-c", `echo up; exec sleep 1000.${token}`)
    await running.said("up")
    expect(spawnSync("readlink", [`/proc/${running.pid}/exe`], { encoding: "utf8" }).stdout.trim()).toBe(guard)
    running.kill()
    await nothingLeft()
  })

  it("hands its flags on", async () => {
    const script = `trap 'echo int; exit 5' INT; echo up; while :; do sleep 0.02; done`
    const running = creche(
      "--grace-ms",
      "50",
      "--signal",
      "SIGINT",
      "--group",
      "--rewrite",
      "TERM:INT",
      "--",
      "sh",
      "-c",
      script,
    )
    await running.said("up")
    running.child.kill("SIGTERM")
    expect(await running.ended).toEqual({ code: 5, signal: null })
    expect(running.out).toContain("int")
  })

  it("leaves nothing when the program that called it is killed", async () => {
    mkdirSync(join(scratch, "trees"))
    const words = [
      process.execPath,
      bin,
      "guard",
      "--",
      "sh",
      fixture("hostile-tree.sh"),
      join(scratch, "trees"),
      token,
    ]
    const caller = new Watched("sh", ["-c", `"$@"; true`, "sh", ...words])
    await caller.said("ready")
    caller.kill()
    await nothingLeft()
  })

  it.each([
    [[], "what shall it run?"],
    [["sleep", "1"], "--"],
    [["--grace-ms", "x", "--", "true"], "grace-ms"],
    [["--rewrite", "x", "--", "true"], "--rewrite"],
    [["--nonsense", "--", "true"], "nonsense"],
  ])("%j is wrong usage", async (args, named) => {
    const running = creche(...args)
    expect(await running.ended).toEqual({ code: 2, signal: null })
    expect(running.err).toContain(named)
  })

  it("where none was built it is the one in Perl", async (context) => {
    const perl = findPerlGuard()
    context.skip(!perl.found, perl.found ? "" : perl.detail)
    const env = { ...process.env, CRECHE_GUARD: "/no/such/guard" }
    const script = `setsid sleep 1000.${token} & echo up; read end; exit 42`
    const running = new Watched(process.execPath, [bin, "guard", "--", "sh", "-c", script], { env })
    await running.said("up")
    expect(spawnSync("readlink", [`/proc/${running.pid}/exe`], { encoding: "utf8" }).stdout).toContain("perl")
    running.child.stdin!.end("end\n")
    expect(await running.ended).toEqual({ code: 42, signal: null })
    await nothingLeft()
  })

  it("without a guard it refuses, and runs nothing", () => {
    const env = { ...process.env, CRECHE_GUARD: "/no/such/guard", CRECHE_PERL: "/no/such/perl" }
    const { status, stderr } = spawnSync(process.execPath, [bin, "guard", "--", "touch", join(scratch, "ran")], {
      env,
      encoding: "utf8",
    })
    expect(status).toBe(125)
    expect(stderr).toContain("creche guard: ")
    expect(spawnSync("ls", [scratch], { encoding: "utf8" }).stdout).toBe("")
  })
})

describe.skipIf(noTree !== "")(`the installed command${noTree && ` (${noTree})`}`, () => {
  const launcher = fileURLToPath(new URL("../../src/cli/launcher.sh", import.meta.url))
  const install = (withGuard: boolean) => {
    const at = (path: string) => {
      const whole = join(scratch, "package", path)
      mkdirSync(dirname(whole), { recursive: true })
      return whole
    }
    copyFileSync(launcher, at("dist/cli/creche"))
    chmodSync(at("dist/cli/creche"), 0o755)
    writeFileSync(at("dist/cli/bin.js"), `console.log("by node", JSON.stringify(process.argv.slice(2)))`)
    if (withGuard) copyFileSync(guard, at(`native/prebuilt/linux-${process.arch}/guard`))
    mkdirSync(join(scratch, "bin"))
    // As npm puts it, and once more.
    symlinkSync("../package/dist/cli/creche", join(scratch, "bin/first"))
    symlinkSync(join(scratch, "bin/first"), join(scratch, "bin/creche"))
  }
  const run = (script: string, PATH = process.env["PATH"]) =>
    spawnSync("/bin/sh", ["-c", script], { encoding: "utf8", cwd: scratch, env: { PATH: `${scratch}/bin:${PATH}` } })

  it("becomes the guard without Node, and every descriptor reaches the command", () => {
    install(true)
    writeFileSync(join(scratch, "bin/node"), "#!/bin/sh\necho node was started\n", { mode: 0o755 })
    const { stdout, status } = run(
      `creche guard -- sh -c 'read line <&7; echo "$line"; exit 9' 7<<END\nthrough seven\nEND`,
    )
    expect([stdout, status]).toEqual(["through seven\n", 9])
  })

  it("passes its caller on, so that one that is gone starts nothing", () => {
    install(true)
    const { stdout } = run(
      `creche guard -- sh -c 'tr "\\0" " " </proc/$(ps -o ppid= $$ | tr -d " ")/cmdline'; echo; echo $$`,
    )
    const [line, shell] = stdout
      .trim()
      .split("\n")
      .map((text) => text.trim())
    expect(line).toContain(`--run --parent ${shell} -- sh`)
  })

  it.each([
    ["ps --json", ["ps", "--json"]],
    ["guard --help", ["guard", "--help"]],
    ["ask demo 'a  b'", ["ask", "demo", "a  b"]],
  ])("%s is Node's", (line, args) => {
    install(true)
    expect(run(`creche ${line}`, `${dirname(process.execPath)}:${process.env["PATH"]}`).stdout).toBe(
      `by node ${JSON.stringify(args)}\n`,
    )
  })

  it("guard is Node's too where none was built", () => {
    install(false)
    const { stdout } = run("creche guard -- true", `${dirname(process.execPath)}:${process.env["PATH"]}`)
    expect(stdout).toBe('by node ["guard","--","true"]\n')
  })
})
