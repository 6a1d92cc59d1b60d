import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import type { Case } from "../Case.ts"

const acpAgent = fileURLToPath(new URL("../../fixtures/agents/acp/agent.ts", import.meta.url))

export const startingCases: ReadonlyArray<Case> = [
  {
    name: "starts a session, and finds it by name, task and id",
    methods: ["session/start", "session/get"],
    run: async (on) => {
      const task = on.name("task")
      const started = await on.echo({ task, tags: { team: "a" }, metadata: { any: [1, null] } })
      assert.equal(started.status, "ready")
      assert.equal(started.incarnation, 1)
      assert.equal(started.spec.command, "cat")
      for (const session of [started.name, task, started.id]) {
        const found = await on.ok("session/get", { session })
        assert.deepEqual([found.id, found.pid], [started.id, started.pid])
        assert.deepEqual(found.spec.metadata, { any: [1, null] })
      }
    },
  },
  {
    name: "shows no value of an environment variable",
    methods: ["session/start", "session/get"],
    run: async (on) => {
      const { name } = await on.echo({ env: { SECRET: "s3cr3t", GONE: null } })
      const { spec } = await on.ok("session/get", { session: name })
      assert.deepEqual(spec.env, { SECRET: "***", GONE: null })
    },
  },
  {
    name: "generates a name where none is given",
    methods: ["session/start", "session/stop"],
    run: async (on) => {
      const { name } = await on.ok("session/start", { command: "cat", protocol: "lines" })
      assert.match(name, /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
      await on.ok("session/stop", { session: name })
    },
  },
  {
    name: "refuses a name or task that is taken, or gives what has it",
    methods: ["session/start"],
    errors: ["SessionAlreadyExists"],
    run: async (on) => {
      const task = on.name("task")
      const { name, id } = await on.echo({ task })
      const named = await on.fails("session/start", { name, command: "cat" }, "SessionAlreadyExists")
      assert.deepEqual(named.data, { tag: "SessionAlreadyExists", session: name, field: "name" })
      const tasked = await on.fails("session/start", { name: on.name(), task, command: "cat" }, "SessionAlreadyExists")
      assert.equal(tasked.data["field"], "task")
      assert.equal((await on.ok("session/start", { name, command: "cat", ifExists: "return" })).id, id)
      await on.refuses("session/start", { name, command: "cat", ifExists: "perhaps" }, "ifExists")
    },
  },
  {
    name: "names every field of a spec that is wrong or unknown, however deep",
    methods: ["session/start"],
    errors: ["InvalidParams"],
    run: async (on) => {
      const command = "cat"
      await on.refuses("session/start", { name: "no spaces", command }, "name")
      await on.refuses(
        "session/start",
        { command, restart: "often", backoff: { jitter: "some", grow: 2 }, colour: "red" },
        "restart",
        "backoff.jitter",
        "backoff.grow",
        "colour",
      )
      await on.refuses("session/start", { command, args: ["x", 1] }, "args.1")
      await on.refuses("session/start", { command, protocol: "smoke" }, "protocol")
      await on.refuses("session/start", { command, cwd: "not/absolute" }, "cwd")
      await on.refuses("session/start", {}, "command")
    },
  },
  {
    name: "says why a command cannot be started",
    methods: ["session/start", "session/get"],
    errors: ["SpawnFailed", "SessionNotFound"],
    run: async (on) => {
      const name = on.name()
      const missing = await on.fails("session/start", { name, command: "/nowhere/to/be/found" }, "SpawnFailed")
      assert.deepEqual(
        [missing.data["command"], missing.data["field"], missing.data["errno"]],
        ["/nowhere/to/be/found", "command", "ENOENT"],
      )
      const lost = await on.fails("session/start", { name, command: "cat", cwd: "/nowhere" }, "SpawnFailed")
      assert.equal(lost.data["field"], "cwd")
      await on.fails("session/get", { session: name }, "SessionNotFound")
    },
  },
  {
    name: "says why a session did not become ready, with its last words",
    methods: ["session/start", "session/get"],
    errors: ["NotReady", "SessionNotFound"],
    run: async (on) => {
      const name = on.name()
      const args = ["-c", "echo I cannot >&2; exit 3"]
      const failure = await on.fails("session/start", { name, command: "sh", args, protocol: "mcp" }, "NotReady")
      assert.equal(failure.data["session"], name)
      assert.match(String(failure.data["stderrTail"]), /I cannot/)
      assert.match(String((failure.data["exit"] as any).at), /Z$/)
      await on.fails("session/get", { session: name }, "SessionNotFound")
    },
  },
  {
    name: "names a template and a supervisor that there are not",
    methods: ["session/start"],
    errors: ["TemplateNotFound", "SupervisorNotFound"],
    run: async (on) => {
      const template = await on.fails("session/start", { template: "nobody" }, "TemplateNotFound")
      assert.equal(template.data["template"], "nobody")
      const supervisor = await on.fails(
        "session/start",
        { command: "cat", supervisor: "root/nowhere" },
        "SupervisorNotFound",
      )
      assert.equal(supervisor.data["supervisor"], "root/nowhere")
    },
  },
  {
    name: "goes on with a start whose agent wants to be authenticated",
    methods: ["session/start", "session/authenticate", "session/ask"],
    errors: ["Unsupported"],
    run: async (on) => {
      const name = on.name("acp")
      const started = await on.ok("session/start", {
        name,
        command: process.execPath,
        args: [acpAgent, "--auth", "key,browser"],
        protocol: "acp",
      })
      assert.equal(started.status, "authenticating")
      await on.refuses("session/authenticate", { session: name, method: "no-such-way" }, "method")
      assert.equal((await on.ok("session/authenticate", { session: name, method: "key" })).status, "ready")
      assert.equal((await on.ok("session/ask", { session: name, prompt: "hello" })).text, "heard: hello")
      await on.refuses("session/authenticate", { session: name, method: 7 }, "method")
      const { name: plain } = await on.echo()
      await on.fails("session/authenticate", { session: plain }, "Unsupported")
    },
  },
]
