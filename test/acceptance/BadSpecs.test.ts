import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime, type SessionSpecInput } from "../../src/index.ts"
import { noGuard } from "./Processes.ts"

describe("a bad spec gets the right tag and names the field", () => {
  let runtime: EmbeddedRuntime
  let directory: string
  beforeAll(async () => {
    process.env["CRECHE_CGROUP"] = "/no/such/cgroup"
    runtime = await openRuntime()
    directory = mkdtempSync(join(tmpdir(), "creche-specs-"))
    writeFileSync(join(directory, "file"), "no program")
    writeFileSync(join(directory, "garbage"), "\u0000\u0001 neither ELF nor script")
    chmodSync(join(directory, "garbage"), 0o755)
  })
  afterAll(async () => {
    rmSync(directory, { recursive: true, force: true })
    await runtime.close()
    delete process.env["CRECHE_CGROUP"]
  })

  const refused = async (spec: object): Promise<Record<string, unknown>> => {
    try {
      await runtime.start(spec as SessionSpecInput)
    } catch (error) {
      return error as Record<string, unknown>
    }
    throw new Error(`was accepted: ${JSON.stringify(spec)}`)
  }

  const invalid: ReadonlyArray<readonly [string, object, string, RegExp]> = [
    ["an unknown field", { command: "cat", comand: "x" }, "comand", /did you mean "command"/],
    ["a wrong type", { command: "cat", args: "x" }, "args", /array/],
    ["no command", {}, "command", /required/],
    ["an empty command", { command: "" }, "command", /must not be empty/],
    ["a name with a slash", { command: "cat", name: "a/b" }, "name", /no slash/],
    ["a negative duration", { command: "cat", idleTimeoutMs: -1 }, "idleTimeoutMs", /1/],
    ["a duration that is no integer", { command: "cat", backoff: { initialMs: 1.5 } }, "backoff.initialMs", /integer/],
    ["a nested unknown field", { command: "cat", mailbox: { size: 3 } }, "mailbox.size", /capacity/],
    ["a relative cwd", { command: "cat", cwd: "here" }, "cwd", /absolute/],
    [
      "a bad regular expression",
      { command: "cat", protocol: { type: "text", endOfTurn: { prompt: "(" } } },
      "protocol.endOfTurn.prompt",
      /regular expression/,
    ],
    ["an unknown protocol", { command: "cat", protocol: "telepathy" }, "protocol", /lines/],
  ]
  for (const [what, spec, path, message] of invalid) {
    it(`${what}: InvalidParams at ${path}`, async () => {
      const error = await refused(spec)
      expect(error["_tag"]).toBe("InvalidParams")
      const issues = error["issues"] as ReadonlyArray<{ path: string; message: string }>
      expect(issues.map((issue) => issue.path)).toContain(path)
      expect(issues.find((issue) => issue.path === path)!.message).toMatch(message)
    })
  }

  const failing: ReadonlyArray<readonly [string, () => object, string, string]> = [
    ["a missing binary", () => ({ command: "no-such-program-here" }), "command", "ENOENT"],
    ["a missing binary by path", () => ({ command: join(directory, "none") }), "command", "ENOENT"],
    ["a file that is not executable", () => ({ command: join(directory, "file") }), "command", "EACCES"],
    ["a directory as command", () => ({ command: directory }), "command", "EACCES"],
    ["an executable that is no program", () => ({ command: join(directory, "garbage") }), "command", "ENOEXEC"],
    ["a cwd that is missing", () => ({ command: "cat", cwd: join(directory, "nowhere") }), "cwd", "ENOENT"],
    ["a cwd that is a file", () => ({ command: "cat", cwd: join(directory, "file") }), "cwd", "ENOTDIR"],
    [
      "arguments that are too long",
      () => ({ command: "cat", args: Array(40).fill("x".repeat(130_000)) }),
      "args",
      "E2BIG",
    ],
    ["a containment that is not to be had", () => ({ command: "cat", containment: "cgroup" }), "containment", "ELEVEL"],
    [
      "a limit of memory at a level that holds none",
      () => ({ command: "cat", containment: "group", limits: { memoryBytes: 1 << 30 } }),
      "limits",
      "ELEVEL",
    ],
    [
      "a limit of processes at a level that holds none",
      () => ({ command: "cat", containment: "group", limits: { processes: 10 } }),
      "limits",
      "ELEVEL",
    ],
  ]
  for (const [what, spec, field, errno] of failing) {
    it(`${what}: SpawnFailed, ${errno} of ${field}, and no session is left behind`, async (context) => {
      if (errno === "ENOEXEC" && noGuard !== undefined)
        context.skip(`Node's own spawn gives such a file to /bin/sh: ${noGuard}`)
      const error = await refused({ ...spec(), name: "stillborn" })
      expect([error["_tag"], error["field"], error["errno"]]).toEqual(["SpawnFailed", field, errno])
      expect(error["message"]).toMatch(new RegExp(`^${field}: `))
      expect((await runtime.list()).sessions).toEqual([])
    })
  }

  it("what this build cannot do is refused by name, not ignored", async () => {
    expect(await refused({ command: "cat", protocol: "pty" })).toMatchObject({ _tag: "Unsupported", what: "protocol" })
    expect(await refused({ command: "cat", template: "t" })).toMatchObject({ _tag: "TemplateNotFound" })
    expect(await refused({ command: "cat", supervisor: "root/a" })).toMatchObject({ _tag: "SupervisorNotFound" })
  })
})
