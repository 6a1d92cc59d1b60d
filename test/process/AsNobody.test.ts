/**
 * What the guard promises it promises to a user without privileges as well: where this suite runs as root, the files named
 * here are run once more as `nobody`, by a process of their own. Elsewhere they have run unprivileged already.
 */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { probeCgroup } from "../../src/process/CgroupTree.ts"
import { parseProbe } from "../../src/process/ContainmentLevels.ts"
import { findGuardBinary } from "../../src/process/GuardBinary.ts"
import { eventually, noTree } from "./SpawnerBench.ts"

const nobody = 65_534
const root = fileURLToPath(new URL("../..", import.meta.url))
const skipped =
  noTree !== ""
    ? noTree
    : process.getuid?.() === 0
      ? ""
      : "skipped, this is no root, so those files have run without privileges"
const binary = findGuardBinary()
const guardPath = binary.found ? binary.path : ""

describe.skipIf(skipped !== "")(`without privileges${skipped && ` (${skipped})`}`, () => {
  let home: string
  let unfit = ""
  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), "creche-nobody-"))
    chownSync(home, nobody, nobody)
    const read = `require("fs").accessSync(${JSON.stringify(join(root, "package.json"))})`
    const tried = spawnSync("sh", [...asNobody, process.execPath, "-e", read], { cwd: "/", encoding: "utf8" })
    // A home directory of mode 0700 above the checkout is no fault of ours.
    if (tried.status !== 0)
      unfit = `nobody may not read ${root}, or there is no setpriv: ${tried.stderr.split("\n")[0]}`
  })
  afterAll(() => rmSync(home, { recursive: true, force: true }))

  const setpriv = ["--reuid", String(nobody), "--regid", String(nobody), "--clear-groups", "--"]
  const asNobody = ["-c", 'exec setpriv "$@"', "sh", ...setpriv]
  /** Only root may enter it; so first the cgroup, then the user. */
  const inCgroup = (path: string) => [
    "-c",
    'echo $$ >"$1/cgroup.procs" && shift && exec setpriv "$@"',
    "sh",
    path,
    ...setpriv,
  ]

  const vitest = async (files: ReadonlyArray<string>, as: ReadonlyArray<string>) => {
    const args = [
      process.execPath,
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      // As vitest.config.ts, which wants to be compiled into a place that is not nobody's.
      ...["--configLoader", "native", "--pool", "forks", "--maxWorkers", "1"],
      ...["--testTimeout", "60000", "--hookTimeout", "60000", "--reporter", "verbose"],
      ...files.map((name) => `test/process/${name}.test.ts`),
    ]
    const child = spawn("sh", [...as, ...args], {
      cwd: root,
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: home,
        TMPDIR: home,
        NO_COLOR: "1",
        ...(process.env["CHAOS"] === undefined ? {} : { CHAOS: process.env["CHAOS"] }),
      },
      stdio: ["ignore", "pipe", "pipe"],
    })
    let out = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (out += chunk.toString()))
    const [code] = (await once(child, "close")) as [number | null]
    if (code !== 0) console.log(out)
    expect({ code, failed: out.split("\n").filter((line) => /[×✗]|FAIL|AssertionError/.test(line)) }).toEqual({
      code: 0,
      failed: [],
    })
    return out
  }
  const patience = process.env["CHAOS"] === "long" ? 7_200_000 : 600_000

  it(
    "guard and namespace hold, limits hold, and a lack of processes is named",
    async (context) => {
      context.skip(unfit !== "", unfit)
      const out = await vitest(["NamespaceLevel", "Limits", "LevelDeaths", "Containment", "PerlGuard"], asNobody)
      expect(out).toMatch(/✓.*no process left: EAGAIN is named/)
      const probed = spawnSync("sh", [...asNobody, guardPath, "--probe"], { encoding: "utf8" }).stdout
      if (parseProbe(probed).namespace === null) expect(out).toMatch(/✓.*no privilege that its user does not have/)
    },
    patience,
  )

  it(
    "a cgroup that is delegated to it is used, from the subgroup in which it was started",
    async (context) => {
      context.skip(unfit !== "", unfit)
      const probe = probeCgroup()
      if (!probe.available) return context.skip(probe.detail)
      const delegated = join(probe.root, `test-${process.pid}`)
      const own = join(delegated, "runtime")
      mkdirSync(own, { recursive: true })
      try {
        for (const directory of [delegated, own])
          for (const path of ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"])
            chownSync(join(directory, path), nobody, nobody)
        const out = await vitest(["CgroupLevel", "LevelDeaths"], inCgroup(own))
        expect(out).toMatch(/✓.*holds the whole tree and not its guard/)
        expect(readdirSync(delegated, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length).toBe(1)
      } finally {
        await eventually("nobody is in it", () => readFileSync(join(own, "cgroup.procs"), "utf8") === "")
        rmdirSync(own)
        rmdirSync(delegated)
      }
    },
    patience,
  )
})
