import { execFile, type ExecFileException } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, it, type TestContext } from "vitest"

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const run = (
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv; readonly timeout?: number },
) =>
  new Promise<Outcome>((resolve) => {
    execFile(command, args, { timeout: 60_000, maxBuffer: 1 << 26, ...options }, (error, stdout, stderr) => {
      const { code } = (error ?? { code: 0 }) as ExecFileException
      resolve({
        code: typeof code === "number" ? code : 1,
        stdout,
        stderr: `${stderr}${error?.killed ? "\ntimed out" : ""}`,
      })
    })
  })

/** What npm gave its scripts is not for the npm that a test starts. */
const environment = (more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        !/^npm_(?!config_(?:registry|cache|userconfig|.*proxy|cafile))|^CRECHE_|^NODE_OPTIONS$|^VITEST/i.test(name),
    ),
  ),
  // The Node under test first: `creche` finds it by `env node`.
  PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}`,
  ...more,
})

const noNetwork = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ECONNRESET|ENETUNREACH|ENOTCACHED/

describe("the packed package, in an empty project", () => {
  let directory = ""
  let project = ""
  let unavailable: string | undefined
  let packed: ReadonlyArray<string> = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "creche-package-"))
    project = join(directory, "project")
    const pack = await run("npm", ["pack", "--json", "--pack-destination", directory], {
      cwd: root,
      env: environment(),
    })
    expect(pack, pack.stderr).toMatchObject({ code: 0 })
    const report = JSON.parse(pack.stdout.slice(pack.stdout.search(/^[[{]/m))) as Array<{
      files: Array<{ path: string }>
    }>
    packed = (Array.isArray(report) ? report : Object.values(report as object))[0].files.map(
      (file: { path: string }) => file.path,
    )
    const tarball = (await readdir(directory)).find((name) => name.endsWith(".tgz"))!
    await run("mkdir", [project], { cwd: directory })
    await writeFile(join(project, "package.json"), '{ "private": true, "type": "module" }\n')
    const install = await run(
      "npm",
      ["install", join(directory, tarball), "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"],
      { cwd: project, env: environment(), timeout: 150_000 },
    )
    if (install.code !== 0 && noNetwork.test(install.stderr))
      unavailable = "npm cannot reach the dependencies from here"
    else expect(install, install.stderr).toMatchObject({ code: 0 })
  }, 240_000)

  afterAll(() => rm(directory, { recursive: true, force: true }))

  const creche = (...args: ReadonlyArray<string>) =>
    run(join(project, "node_modules/.bin/creche"), args, {
      cwd: project,
      env: environment({
        XDG_STATE_HOME: join(directory, "state"),
        XDG_CACHE_HOME: join(directory, "cache"),
        XDG_RUNTIME_DIR: "",
      }),
    })

  const needsInstall = (context: TestContext) => context.skip(unavailable !== undefined, unavailable)

  it("holds what it needs and nothing of the workshop", () => {
    expect(packed).toEqual(
      expect.arrayContaining(["package.json", "LICENSE", "README.md", "CHANGELOG.md", "native/guard/main.c"]),
    )
    expect(packed).toEqual(
      expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "dist/cli/bin.js", "dist/client/index.js"]),
    )
    expect(packed).toContain("clients/python/creche.py")
    expect(
      packed.filter((path) => !/^(?:dist|native|clients\/python)\/|^[A-Z]+(?:\.md)?$|^package\.json$/.test(path)),
    ).toEqual([])
    expect(packed.filter((path) => /\.test\.|(?<!\.d)\.ts$/.test(path))).toEqual([])
  })

  it("brings the guard as a program that runs without a compiler", async (context) => {
    needsInstall(context)
    const guard = join("node_modules/creche/native/prebuilt", `${process.platform}-${process.arch}`, "guard")
    context.skip(
      !existsSync(join(root, guard.replace("node_modules/creche/", ""))),
      "no C compiler here: the build made no guard",
    )
    expect(existsSync(join(project, guard))).toBe(true)
    const { stdout } = await creche("doctor", "--json")
    const { findings } = JSON.parse(stdout) as { findings: Array<{ what: string; detail: string }> }
    expect(findings.find((finding) => finding.what === "containment")?.detail).toContain(guard)
  })

  it("prints its version", async (context) => {
    needsInstall(context)
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }
    expect(await creche("--version")).toEqual({ code: 0, stdout: `creche ${version}\n`, stderr: "" })
  })

  it("plays the demo to its end", async (context) => {
    needsInstall(context)
    const demo = await creche("demo")
    expect(demo.stderr).toBe("")
    expect(demo.stdout).toContain("is left")
    expect(demo.code).toBe(0)
  })

  it("knows help and completions", async (context) => {
    needsInstall(context)
    expect(await creche("--help")).toMatchObject({ code: 0, stderr: "" })
    expect((await creche("completions", "bash")).stdout).toContain("creche")
  })

  it("is a library: a runtime in one's own process, and a client", async (context) => {
    needsInstall(context)
    await writeFile(
      join(project, "library.mjs"),
      `import { openRuntime } from "creche"
       import { connect } from "creche/client"
       import { layer } from "creche/client/effect"
       if (typeof layer !== "function") throw new Error("no client for Effect")
       if (typeof connect !== "function") throw new Error("no client")
       const runtime = await openRuntime()
       await runtime.start({ name: "echo", command: "cat" })
       console.log((await runtime.ask("echo", "hello from a library")).text)
       await runtime.close()
      `,
    )
    const library = await run(process.execPath, ["library.mjs"], { cwd: project, env: environment() })
    expect(library).toMatchObject({ code: 0, stdout: "hello from a library\n" })
  })

  it("guards one command, and the children of a program that keeps its spawn", async (context) => {
    needsInstall(context)
    context.skip(process.platform !== "linux", "only Linux lets a guard adopt daemons")
    expect(await creche("guard", "--", "sh", "-c", "echo guarded; exit 9")).toEqual({
      code: 9,
      stdout: "guarded\n",
      stderr: "",
    })
    await writeFile(
      join(project, "spawn.mjs"),
      `import "creche/spawn/register"
       import { spawn as nodes } from "node:child_process"
       import { spawn } from "creche/spawn"
       if (nodes !== spawn) throw new Error("not registered")
       console.log(spawn.containment.level)
       spawn("sh", ["-c", "exit 7"]).on("exit", (code) => console.log(code))
      `,
    )
    const program = await run(process.execPath, ["spawn.mjs"], { cwd: project, env: environment() })
    expect(program).toMatchObject({ code: 0, stdout: "guard\n7\n" })
  })

  it("declares its types", async (context) => {
    needsInstall(context)
    await writeFile(
      join(project, "types.ts"),
      `import * as Effect from "effect/Effect"
       import { openRuntime, type Turn } from "creche"
       import type { CrecheClient, CrecheFailure } from "creche/client/effect"
       import { connect } from "creche/client"
       import { spawn } from "creche/spawn"
       export const piped = spawn("a", ["b"], { graceMs: 5, containment: "guard" }).stdout.read() as unknown
       export const inherited: null | object = spawn("a", { stdio: "inherit", graceMs: 5 }).stdout
       export const turn = async (): Promise<Turn> => (await openRuntime()).ask("a", "b")
       export const text = async (): Promise<string> => (await (await connect({ socket: "x" })).ask({ session: "a", prompt: "b" })).text
       export const missing = (creche: CrecheClient): Effect.Effect<string, Exclude<CrecheFailure, { _tag: "SessionNotFound" }>> =>
         creche.session("a").get.pipe(
           Effect.map(({ name }) => name),
           Effect.catchTag("SessionNotFound", ({ session }) => Effect.succeed(session)),
         )
       // @ts-expect-error a number is no prompt
       export const wrong = async () => (await openRuntime()).ask("a", 1)
      `,
    )
    const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2024"]
    const types = await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), ...options, "types.ts"], {
      cwd: project,
      env: environment(),
    })
    expect(types.stdout).toBe("")
    expect(types.code).toBe(0)
  })
})
