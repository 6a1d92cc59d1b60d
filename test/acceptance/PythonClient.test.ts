import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { isRepeatable } from "../../src/client/Repeatable.ts"
import { methods } from "../../src/transport/Contract.ts"
import { describe, expect, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Why the Python client cannot be tried here; undefined: it can. */
const noPython = (): string | undefined => {
  const { status, stdout } = spawnSync("python3", ["-c", "import sys; print(sys.version_info >= (3, 9))"])
  return status !== 0
    ? "python3 is not installed"
    : String(stdout).trim() === "True"
      ? undefined
      : "python3 is older than 3.9"
}

describe("the Python client", () => {
  it("repeats what the TypeScript client repeats", (context) => {
    const missing = noPython()
    if (missing !== undefined) context.skip(missing)
    const script = "import json, creche; print(json.dumps(sorted(creche._READS)))"
    const env = { ...process.env, PYTHONPATH: `${root}clients/python`, PYTHONDONTWRITEBYTECODE: "1" }
    const { stdout } = spawnSync("python3", ["-c", script], { encoding: "utf8", env })
    const reads = methods.filter((method) => method !== "session/ask" && method !== "session/tell")
    expect(JSON.parse(stdout)).toEqual(reads.filter((method) => isRepeatable(method, {} as never)).toSorted())
  })

  it("does what its own tests say, against real runtimes that are killed under it", async (context) => {
    const missing = noPython()
    if (missing !== undefined) context.skip(missing)
    const args = ["-W", "error::ResourceWarning", "-m", "unittest", "discover", "-v", "-s", "clients/python"]
    const child = spawn("python3", args, {
      cwd: root,
      env: { ...process.env, CRECHE_NODE: process.execPath, PYTHONDONTWRITEBYTECODE: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    })
    let said = ""
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (said += text))
    const code = await new Promise((resolve) => child.once("close", resolve))
    console.log(/python client: CRECHE_SEED=\d+/.exec(said)?.[0])
    expect(code, said).toBe(0)
    expect(said).toMatch(/Ran [1-9]\d* tests/)
  }, 180_000)
})
