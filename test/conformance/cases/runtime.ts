import assert from "node:assert/strict"
import { methods, notOffered } from "../../../src/transport/Contract.ts"
import type { Case } from "../Case.ts"
import { eventually } from "../ConformanceClient.ts"

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

export const runtimeCases: ReadonlyArray<Case> = [
  {
    name: "introduces itself, and says what it can do",
    methods: ["initialize"],
    errors: ["InvalidParams"],
    run: async (on) => {
      const { protocolVersion, serverInfo, capabilities } = await on.ok("initialize", {
        protocolVersion: 1,
        clientInfo: { name: "x" },
      })
      assert.equal(protocolVersion, 1)
      assert.equal(serverInfo.name, "creche")
      assert.deepEqual(capabilities.methods, methods)
      assert.equal(capabilities.maxMessageBytes, 16 * 1024 * 1024)
      await on.refuses("initialize", { protocolVersion: 0, colour: "red" }, "protocolVersion", "colour")
      await on.refuses("initialize", {}, "protocolVersion")
    },
  },
  {
    name: "tells what runs here",
    methods: ["runtime/info"],
    run: async (on) => {
      const info = await on.ok("runtime/info", {})
      assert.equal(info.name, "creche")
      assert.equal(info.protocolVersion, 1)
      assert.match(info.startedAt, time)
      assert.equal(typeof info.containment.level, "string")
      assert.ok(info.dataDirectory.startsWith("/"))
    },
  },
  {
    name: "counts sessions and turns",
    methods: ["runtime/stats", "session/start", "session/ask"],
    run: async (on) => {
      const before = await on.ok("runtime/stats", {})
      const { name } = await on.echo()
      await on.ok("session/ask", { session: name, prompt: "x" })
      const after = await on.ok("runtime/stats", {})
      assert.ok(after.turns.completed > before.turns.completed)
      assert.ok(after.spawns > before.spawns)
      assert.ok(after.sessions.ready >= 1)
      assert.ok(after.memory.rssBytes > 0)
    },
  },
  {
    name: "tells its health, and names what is not as it should be",
    methods: ["runtime/health", "session/remove"],
    run: async (on) => {
      const { name } = await on.dying()
      const sick = await on.ok("runtime/health", {})
      assert.equal(sick.status, "degraded")
      assert.ok(sick.problems.some((problem: string) => problem.includes(name)))
      await on.ok("session/remove", { session: name })
      const { status, problems } = await on.ok("runtime/health", {})
      assert.ok(!problems.some((problem: string) => problem.includes(name)))
      assert.equal(status, problems.length === 0 ? "ok" : "degraded")
    },
  },
  {
    name: "tells its metrics, as Prometheus reads them",
    methods: ["runtime/metrics"],
    run: async (on) => {
      const { contentType, text } = await on.ok("runtime/metrics", {})
      assert.match(contentType, /^text\/plain/)
      assert.match(text, /^# TYPE creche_\w+ /m)
    },
  },
  {
    name: "shows the supervision tree",
    methods: ["runtime/tree", "session/start"],
    run: async (on) => {
      const session = await on.echo()
      const tree = await on.ok("runtime/tree", {})
      assert.deepEqual([tree.type, tree.path], ["supervisor", "root"])
      const node = tree.children.find((child: any) => child.id === session.id)
      assert.deepEqual([node.type, node.name, node.pid], ["session", session.name, session.pid])
    },
  },
  {
    name: "refuses params of methods that take none",
    methods: ["runtime/info", "runtime/stats", "runtime/health", "runtime/tree", "template/list"],
    errors: ["InvalidParams"],
    needs: ["params of every method"],
    run: async (on) => {
      for (const method of ["runtime/info", "runtime/stats", "runtime/health", "runtime/tree", "template/list"])
        await on.refuses(method, { colour: "red" }, "colour")
    },
  },
  {
    name: "answers a method that there is not",
    methods: [],
    needs: ["unknown methods"],
    run: async (on) => {
      const answer = await on.client.request("session/fly", {})
      assert.ok(!answer.ok && answer.failure.code === -32601)
    },
  },
  {
    name: "says of each method that is not offered yet that it is not",
    methods: notOffered,
    errors: ["Unsupported"],
    run: async (on) => {
      for (const method of notOffered) {
        const failure = await on.fails(method, {}, "Unsupported")
        assert.equal(failure.data["what"], method)
      }
    },
  },
  {
    name: "drains: what runs is finished, what is new is refused, nothing is left",
    methods: ["runtime/shutdown", "session/start", "session/tell", "session/get"],
    errors: ["Draining"],
    alone: true,
    run: async (on) => {
      const { name, pid } = await on.demo()
      const told = await on.ok("session/tell", { session: name, prompt: "/slow 2000 done" })
      const over = on.ok("runtime/shutdown", { drainMs: 30_000 })
      await eventually("new work is refused", async () => {
        const answer = await on.try("session/start", { name: on.name(), command: "cat", protocol: "lines" })
        return !answer.ok && answer.failure.tag === "Draining"
      })
      await on.fails("session/tell", { session: name, prompt: "x" }, "Draining")
      assert.equal((await on.ok("session/get", { session: name })).turns.running, 1)
      const ended = on.try("turn/wait", { turn: told.id })
      assert.deepEqual(await over, { survivors: [] })
      const answer = await ended.catch(() => undefined)
      // A client may be told of the shutdown first; what it was told of the turn must be its end.
      if (answer?.ok === true) assert.deepEqual([answer.result.status, answer.result.text], ["completed", "done"])
      assert.throws(() => process.kill(pid, 0), { code: "ESRCH" })
    },
  },
]
