import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { InvalidParams } from "../../src/domain/Errors.ts"
import { resolveSpec, sessionSpecFields, SessionSpecInput, specDefaults } from "../../src/domain/SessionSpec.ts"
import { admit } from "../../src/supervisor/SpecAdmission.ts"
import { decoders } from "../../src/transport/Params.ts"

const decode = Schema.decodeUnknownExit(SessionSpecInput, { onExcessProperty: "error" })
const decodes = (spec: unknown) => Exit.isSuccess(decode(spec))
/** What a client is told, by path. */
const issuesOf = (spec: object): Readonly<Record<string, string>> => {
  const decoded = decoders["session/start"](spec)
  if (!(decoded instanceof InvalidParams)) return {}
  return Object.fromEntries(decoded.issues.map(({ path, message }) => [path, message]))
}

describe("a bad spec is refused, and the field is named", () => {
  const bad: ReadonlyArray<readonly [what: string, spec: Record<string, unknown>, path: string]> = [
    ["an unknown field", { comand: "x" }, "comand"],
    ["an unknown field inside", { mailbox: { size: 3 } }, "mailbox.size"],
    ["a wrong type", { command: 7 }, "command"],
    ["args that are no array", { args: "-la" }, "args"],
    ["an empty command", { command: "" }, "command"],
    ["a command with a NUL byte", { command: "a\0b" }, "command"],
    ["an argument with a NUL byte", { args: ["a", "b\0"] }, "args.1"],
    ["a name with a slash", { name: "a/b" }, "name"],
    ["a name with a space", { name: "a b" }, "name"],
    ["an empty name", { name: "" }, "name"],
    ["a name that begins with a dot", { name: ".." }, "name"],
    ["a name of 129 letters", { name: "a".repeat(129) }, "name"],
    ["a name with a newline behind", { name: "a\n" }, "name"],
    ["a negative duration", { readyTimeoutMs: -1 }, "readyTimeoutMs"],
    ["a negative grace", { shutdown: { graceMs: -5 } }, "shutdown.graceMs"],
    ["a duration that is no integer", { turnTimeoutMs: 1.5 }, "turnTimeoutMs"],
    ["a duration that is no finite number", { turnTimeoutMs: Infinity }, "turnTimeoutMs"],
    ["a timeout of nothing", { turnTimeoutMs: 0 }, "turnTimeoutMs"],
    ["a factor below one", { backoff: { factor: 0.5 } }, "backoff.factor"],
    ["a jitter above one", { backoff: { jitter: 1.1 } }, "backoff.jitter"],
    ["a window of nothing", { intensity: { withinMs: 0 } }, "intensity.withinMs"],
    ["a mailbox for nothing", { mailbox: { capacity: 0 } }, "mailbox.capacity"],
    ["an unknown overflow", { mailbox: { overflow: "drop" } }, "mailbox.overflow"],
    ["an unknown restart type", { restart: "always" }, "restart"],
    ["an unknown signal", { shutdown: { signal: "SIGFOO" } }, "shutdown.signal"],
    ["an unknown protocol", { protocol: "http" }, "protocol"],
    [
      "a regular expression that is none",
      { protocol: { type: "text", endOfTurn: { prompt: "(" } } },
      "protocol.endOfTurn.prompt",
    ],
    ["a variable whose name holds =", { env: { "A=B": "c" } }, "env.A=B"],
    ["a variable that is a number", { env: { A: 1 } }, "env.A"],
    ["a tag that is no string", { tags: { a: 1 } }, "tags.a"],
    ["a line limit of nothing", { limits: { lineBytes: 0 } }, "limits.lineBytes"],
    ["a retention of nothing", { retention: { maxBytes: 0 } }, "retention.maxBytes"],
    ["an unknown containment", { containment: "docker" }, "containment"],
  ]
  for (const [what, field, path] of bad) {
    it(`${what}: ${path}`, () => {
      const spec = { command: "x", ...field }
      expect(decodes(spec)).toBe(false)
      expect(Object.keys(issuesOf(spec))).toEqual([path])
    })
  }

  it("all bad fields at once", () => {
    expect(Object.keys(issuesOf({ name: "a/b", command: "", retryTurns: -1 })).toSorted()).toEqual([
      "command",
      "name",
      "retryTurns",
    ])
  })
})

describe("a spec that cannot be kept is refused by name", () => {
  const refusal = (spec: object) => {
    const exit = Effect.runSyncExit(admit(spec as SessionSpecInput, () => "generated"))
    return Exit.isSuccess(exit) ? "admitted" : Cause.squash(exit.cause)
  }

  it("without a command, with a relative directory, or with a schedule that begins above its maximum", () => {
    const paths = [{}, { command: "x", cwd: "here" }, { command: "x", backoff: { initialMs: 10, maxMs: 5 } }].map(
      (spec) => (refusal(spec) as InvalidParams).issues[0]!.path,
    )
    expect(paths).toEqual(["command", "cwd", "backoff.initialMs"])
  })

  it("with a supervisor or a protocol that this build does not have", () => {
    const tag = (spec: object) => (refusal({ command: "x", ...spec }) as { _tag: string })._tag
    expect(tag({ supervisor: "root/a" })).toBe("SupervisorNotFound")
    expect(tag({ protocol: "pty" })).toBe("Unsupported")
  })
})

describe("a spec without a command", () => {
  it("is that of its protocol's own agent, where it has one; its arguments are replaced by those of the spec", () => {
    const specOf = (spec: object) => Effect.runSync(admit(spec as SessionSpecInput, () => "generated")).spec
    for (const [type, command] of [
      ["claude", "claude"],
      ["codex", "codex"],
      ["acp", "claude-agent-acp"],
    ]) {
      expect(specOf({ protocol: type })).toMatchObject({ command, args: [] })
      expect(specOf({ protocol: { type }, args: ["-x"] })).toMatchObject({ command, args: ["-x"] })
      expect(specOf({ protocol: type, command: "/opt/own" })).toMatchObject({ command: "/opt/own", args: [] })
    }
  })
})

describe("a good spec", () => {
  it("may leave out all but its command, and say every field", () => {
    expect(decodes({ command: "x" })).toBe(true)
    const every = {
      name: "a.b_c-1",
      template: "t",
      supervisor: "root/t",
      command: "x",
      args: [""],
      cwd: "/",
      env: { A: "", B: null },
      inheritEnv: "all",
      protocol: { type: "ndjson", end: { done: true } },
      restart: "permanent",
      backoff: { initialMs: 0, factor: 1, maxMs: 0, jitter: 0, resetAfterMs: 0 },
      intensity: { maxRestarts: 0, withinMs: 1 },
      shutdown: "brutal_kill",
      readyTimeoutMs: 1,
      turnTimeoutMs: 1,
      stallTimeoutMs: null,
      onStall: "cancel",
      idleTimeoutMs: null,
      expiresInMs: null,
      mailbox: { capacity: 1, overflow: "suspend" },
      retryTurns: 0,
      permissions: { rules: [{ tool: "x", decision: "deny" }] },
      limits: { lineBytes: 1 },
      attachments: { roots: ["/"], maxBytes: 1 },
      retention: { maxAgeMs: 1, maxBytes: 1 },
      containment: "guard",
      task: null,
      tags: { "": "" },
      metadata: [{ any: null }],
    }
    expect(Object.keys(every).toSorted()).toEqual(Object.keys(sessionSpecFields).toSorted())
    expect(decode(every)).toMatchObject({ _tag: "Success" })
  })

  it("has the defaults that the protocol's page pins", () => {
    expect(resolveSpec({ name: "n", command: "c" })).toEqual({
      name: "n",
      template: null,
      supervisor: "root",
      command: "c",
      args: [],
      cwd: null,
      env: {},
      inheritEnv: ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM", "TMPDIR", "USER", "SHELL"],
      protocol: { type: "lines" },
      restart: "transient",
      backoff: { initialMs: 100, factor: 2, maxMs: 30_000, jitter: 0.2, resetAfterMs: 60_000 },
      intensity: { maxRestarts: 5, withinMs: 60_000 },
      shutdown: { signal: "SIGTERM", graceMs: 5_000, stdinEofMs: 0 },
      readyTimeoutMs: 30_000,
      turnTimeoutMs: 600_000,
      stallTimeoutMs: null,
      onStall: "notify",
      idleTimeoutMs: 1_800_000,
      expiresInMs: null,
      mailbox: { capacity: 100, overflow: "fail" },
      retryTurns: 0,
      permissions: { default: "ask", timeoutMs: 300_000, onTimeout: "deny", rules: [] },
      limits: { lineBytes: 16_777_216, transcriptEntries: 10_000, onReached: "suspend" },
      attachments: { roots: null, maxBytes: 10_485_760 },
      retention: null,
      containment: "auto",
      task: null,
      tags: {},
      metadata: null,
    })
  })

  it("keeps the other defaults of a group of which it says one, and shares a group of which it says none", () => {
    const spec = resolveSpec({
      name: "n",
      command: "c",
      protocol: "text",
      backoff: { maxMs: 500 },
      mailbox: { overflow: "sliding" },
    })
    expect(spec.backoff).toEqual({ ...specDefaults.backoff, maxMs: 500 })
    expect(spec.mailbox).toEqual({ capacity: 100, overflow: "sliding" })
    expect(spec.protocol).toEqual({ type: "text" })
    expect(spec.intensity).toBe(specDefaults.intensity)
  })
})
