/** execa as it is, in a program that has put creche's spawn in the place of Node's: the same results, and nothing left. */
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { eventually, pidsWithArgument } from "../acceptance/Processes.ts"
import { freshToken, killIfThere, noTree } from "../process/SpawnerBench.ts"
import { directoryOf, isInstalled } from "./install.ts"
import { execa } from "./Tools.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const why = missing[execa.name] ?? (isInstalled(execa) ? undefined : "it is not installed; npm run test:agents does")

const hooks = fileURLToPath(new URL("asInstalled.mjs", import.meta.url))
const env = { ...process.env, CRECHE_INSTALLED: directoryOf(execa) }
const program = (guarded: boolean, text: string): ReadonlyArray<string> => [
  "--import",
  hooks,
  "--input-type=module",
  "-e",
  `${guarded ? `import "creche/spawn/register"\n` : ""}import { execa } from "execa"\n${text}`,
]

/** What is compared: all that does not tell of time and place. */
const scenes: Readonly<Record<string, string>> = {
  "output of both streams": "await execa('sh', ['-c', 'echo out; echo err >&2'], { all: true })",
  "an exit code": "await execa({ reject: false })('sh', ['-c', 'exit 3'])",
  "a signal": "await execa({ reject: false })('sh', ['-c', 'kill -TERM $$; sleep 10'])",
  "no such command": "await execa({ reject: false })('creche-no-such-command')",
  "a timeout": "await execa({ reject: false, timeout: 200 })('sleep', ['10'])",
  "a cancellation": "await execa({ reject: false, cancelSignal: AbortSignal.timeout(200) })('sleep', ['10'])",
  input: "await execa({ input: 'some\\nlines\\n' })('wc', ['-l'])",
  lines: "await execa({ lines: true })('printf', ['a\\\\nb\\\\n'])",
  "a pipe from one to the next": "await execa('printf', ['b\\\\na\\\\n']).pipe('sort')",
  "a shell": "await execa({ shell: true })('echo $((6*7))')",
  "more streams": "await execa({ stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })('sh', ['-c', 'echo three >&3'])",
  "a polite kill that is not heard": `await (async () => {
    const child = execa({ reject: false, forceKillAfterDelay: 200 })('sh', ['-c', "trap '' TERM; echo up; while :; do sleep 0.05; done"])
    child.stdout.once('data', () => child.kill())
    return child
  })()`,
  messages:
    "await execa({ ipc: true, ipcInput: 'hello' })(process.execPath, ['-e', \"process.once('message', (m) => { process.send('got ' + m); process.disconnect() })\"])",
}

const skipped = why === undefined ? "" : ` (skipped: ${why})`
describe.runIf(wanted === null || wanted.includes(execa.name))(`execa with guarded children${skipped}`, () => {
  let token: string
  beforeEach((context) => {
    token = freshToken()
    context.skip(why !== undefined || noTree !== "", why ?? noTree)
  })
  afterEach(() => {
    for (const pid of pidsWithArgument(token)) killIfThere(pid)
  })

  it.for(Object.entries(scenes))("%s: the same result", ([, scene]) => {
    const text = `const { cwd, cause, stack, message, originalMessage, shortMessage, ...rest } = ${scene}
      console.log(JSON.stringify({ ...rest, message: (message ?? '').replace(/[0-9.]+ms/g, '') }, (key, value) => key === 'durationMs' ? undefined : value))`
    const [own, nodes] = [true, false].map((guarded) => {
      const { stdout, stderr, status } = spawnSync(process.execPath, program(guarded, text), {
        env,
        encoding: "utf8",
        timeout: 30_000,
      })
      return { stdout: stdout === "" ? "" : (JSON.parse(stdout) as unknown), stderr, status }
    })
    expect(own).toEqual(nodes)
    expect(nodes!.status).toBe(0)
  })

  it.each([
    ["and nothing is left of its commands when the program is killed", true, 0],
    ["where two are left without", false, 2],
  ])("%s", async (_, guarded, left) => {
    const text = `const child = execa('sh', ['-c', 'setsid sleep 1000.${token} & echo up; exec sleep 1000.${token}'])
      child.stdout.once('data', () => console.log('up'))
      await child`
    const running = spawn(process.execPath, program(guarded, text), { env, stdio: ["ignore", "pipe", "inherit"] })
    await new Promise((resolve) => running.stdout.once("data", resolve))
    await eventually("both sleep", () => pidsWithArgument(`1000.${token}`).length >= 2)
    running.kill("SIGKILL")
    await new Promise((resolve) => running.once("exit", resolve))
    if (left === 0) await eventually("nothing is left", () => pidsWithArgument(token).length === 0)
    else expect(pidsWithArgument(token)).toHaveLength(left)
  })

  it("the example runs as it stands, and does not wait for what its command left running", () => {
    const example = fileURLToPath(new URL("../../examples/guarded-execa.mjs", import.meta.url))
    const { stdout, stderr } = spawnSync(process.execPath, ["--import", hooks, example], {
      env,
      encoding: "utf8",
      timeout: 30_000,
    })
    expect([stdout, stderr]).toEqual(["done and nothing left\nexit code 3\n", ""])
  })
})
