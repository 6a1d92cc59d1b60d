import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import type { Case } from "../Case.ts"
import { eventually } from "../ConformanceClient.ts"

const rpcServer = fileURLToPath(new URL("../../fixtures/rpcServer.ts", import.meta.url))

export const controlCases: ReadonlyArray<Case> = [
  {
    name: "cancels a turn, running or queued, and the session lives on",
    methods: ["session/cancel", "session/tell", "session/ask", "turn/get"],
    errors: ["TurnNotFound", "SessionNotFound"],
    run: async (on) => {
      const { name } = await on.demo()
      const running = await on.ok("session/tell", { session: name, prompt: "/slow 60000 never" })
      const queued = await on.ok("session/tell", { session: name, prompt: "never either" })
      assert.equal((await on.ok("session/cancel", { session: name, turn: queued.id })).id, queued.id)
      assert.equal((await on.ok("session/cancel", { session: name })).id, running.id)
      for (const { id } of [running, queued]) assert.equal((await on.ok("turn/get", { turn: id })).status, "cancelled")
      assert.equal((await on.ok("session/ask", { session: name, prompt: "/echo on" })).text, "on")
      const { data } = await on.fails("session/cancel", { session: name }, "TurnNotFound")
      assert.equal(data["turn"], null)
      await on.fails("session/cancel", { session: "nobody" }, "SessionNotFound")
      await on.refuses("session/cancel", { session: name, turn: 1 }, "turn")
    },
  },
  {
    name: "suspends and resumes, and a turn wakes",
    methods: ["session/suspend", "session/resume", "session/ask"],
    errors: ["SessionNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      const asleep = await on.ok("session/suspend", { session: name })
      assert.deepEqual([asleep.status, asleep.pid, asleep.suspendedBy], ["suspended", null, "client"])
      assert.equal((await on.ok("session/resume", { session: name })).status, "ready")
      await on.ok("session/suspend", { session: name })
      assert.equal((await on.ok("session/ask", { session: name, prompt: "awake?" })).text, "awake?")
      await on.fails("session/suspend", { session: "nobody" }, "SessionNotFound")
      await on.fails("session/resume", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "restarts, also what was stopped",
    methods: ["session/restart", "session/stop"],
    errors: ["SessionNotFound"],
    run: async (on) => {
      const { name, pid } = await on.echo()
      const again = await on.ok("session/restart", { session: name })
      assert.deepEqual([again.status, again.incarnation, again.restarts], ["ready", 2, 0])
      assert.notEqual(again.pid, pid)
      await on.ok("session/stop", { session: name })
      assert.equal((await on.ok("session/restart", { session: name })).status, "ready")
      await on.fails("session/restart", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "stops, politely or at once, and answers when nothing is left",
    methods: ["session/stop", "session/get"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      for (const mode of ["graceful", "kill"]) {
        const { name, pid } = await on.echo()
        const stopped = await on.ok("session/stop", { session: name, mode })
        assert.deepEqual([stopped.status, stopped.pid], ["stopped", null])
        assert.equal(
          stopped.exit.kind === "signaled" || stopped.exit.kind === "killedByRuntime" || stopped.exit.kind === "exited",
          true,
        )
        assert.throws(() => process.kill(pid, 0), { code: "ESRCH" })
        assert.equal((await on.ok("session/get", { session: name })).status, "stopped")
      }
      const { name } = await on.echo()
      await on.refuses("session/stop", { session: name, mode: "maybe" }, "mode")
      await on.fails("session/stop", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "sends a signal",
    methods: ["session/signal", "session/get"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo({ restart: "temporary" })
      await on.ok("session/signal", { session: name, signal: "SIGKILL" })
      await eventually("it ends by it", async () => {
        const { exit } = await on.ok("session/get", { session: name })
        return exit?.signal === "SIGKILL"
      })
      await on.refuses("session/signal", { session: name, signal: "SIGNONSENSE" }, "signal")
      await on.fails("session/signal", { session: "nobody", signal: "SIGINT" }, "SessionNotFound")
    },
  },
  {
    name: "writes raw bytes to a process",
    methods: ["session/write", "session/transcript"],
    errors: ["SessionNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.ok("session/write", { session: name, data: "plain ü\n" })
      const data = Buffer.from("in base64\n").toString("base64")
      await on.ok("session/write", { session: name, data, encoding: "base64" })
      await eventually("it answers them", async () => {
        const { entries } = await on.ok("session/transcript", { session: name, types: ["output"] })
        const said = entries.map((entry: any) => entry.data).join("\n")
        return said.includes("plain ü") && said.includes("in base64")
      })
      await on.fails("session/write", { session: "nobody", data: "x" }, "SessionNotFound")
    },
  },
  {
    name: "refuses bytes that are not written as the encoding says",
    methods: ["session/write"],
    errors: ["InvalidParams"],
    needs: ["encodings"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.refuses("session/write", { session: name, data: "not base64!", encoding: "base64" }, "data")
      await on.refuses("session/write", { session: name, data: "x", encoding: "rot13" }, "encoding")
    },
  },
  {
    name: "says how long a session lives",
    methods: ["session/extend"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo()
      const { expiresAt } = await on.ok("session/extend", { session: name, expiresInMs: 3_600_000 })
      assert.ok(Date.parse(expiresAt) > Date.now() + 3_500_000)
      assert.equal((await on.ok("session/extend", { session: name, expiresInMs: null })).expiresAt, null)
      await on.refuses("session/extend", { session: name, expiresInMs: 0 }, "expiresInMs")
      await on.fails("session/extend", { session: "nobody", expiresInMs: 1 }, "SessionNotFound")
    },
  },
  {
    name: "forks a conversation, where its agent can",
    methods: ["session/fork", "session/ask"],
    errors: ["Unsupported", "SessionNotFound", "SessionAlreadyExists"],
    run: async (on) => {
      const { name } = await on.demo()
      await on.ok("session/ask", { session: name, prompt: "/remember colour green" })
      const forked = await on.ok("session/fork", { session: name, name: on.name("fork") })
      assert.equal((await on.ok("session/ask", { session: forked.name, prompt: "/recall colour" })).text, "green")
      await on.fails("session/fork", { session: name, name }, "SessionAlreadyExists")
      await on.refuses("session/fork", { session: name, name: "no spaces" }, "name")
      const plain = await on.echo()
      await on.fails("session/fork", { session: plain.name }, "Unsupported")
      await on.fails("session/fork", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "forgets a session",
    methods: ["session/remove", "session/get", "session/transcript", "turn/get", "session/ask"],
    errors: ["SessionNotFound", "TurnNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      const { id } = await on.ok("session/ask", { session: name, prompt: "x" })
      assert.deepEqual(await on.ok("session/remove", { session: name }), {})
      await on.fails("session/get", { session: name }, "SessionNotFound")
      await on.fails("session/transcript", { session: name }, "SessionNotFound")
      await on.fails("turn/get", { turn: id }, "TurnNotFound")
      await on.fails("session/remove", { session: name }, "SessionNotFound")
    },
  },
  {
    name: "shows a permission request, and takes its first answer",
    methods: ["session/tell", "session/get", "session/answer", "turn/wait"],
    errors: ["RequestNotFound", "InvalidParams"],
    run: async (on) => {
      const name = on.name("rpc")
      await on.ok("session/start", {
        name,
        command: process.execPath,
        args: [rpcServer, "lines"],
        protocol: { type: "jsonrpc", framing: "lines" },
      })
      const prompt = JSON.stringify({ method: "ask", params: { method: "wonder/about", params: { why: "ü" } } })
      const turn = await on.ok("session/tell", { session: name, prompt })
      const pending = async () => (await on.ok("session/get", { session: name })).pendingRequests
      await eventually("it asks", async () => (await pending()).length === 1)
      const [{ request, tool, input, requestedAt }] = await pending()
      assert.deepEqual([tool, input], ["wonder/about", { why: "ü" }])
      assert.match(requestedAt, /Z$/)
      const answer = { session: name, request, outcome: "allow", by: "the suite", result: { because: [1] } }
      await on.refuses("session/answer", { ...answer, by: 7 }, "by")
      assert.deepEqual((await on.ok("session/answer", answer)).pendingRequests, [])
      const { text } = await on.ok("turn/wait", { turn: turn.id })
      assert.deepEqual(JSON.parse(text).result, { because: [1] })
      const { data } = await on.fails("session/answer", answer, "RequestNotFound")
      assert.deepEqual(data, { tag: "RequestNotFound", session: name, request })
    },
  },
  {
    name: "refuses what only a terminal has",
    methods: ["session/resize", "session/screen"],
    errors: ["Unsupported", "InvalidParams", "SessionNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.fails("session/resize", { session: name, cols: 80, rows: 24 }, "Unsupported")
      await on.fails("session/screen", { session: name }, "Unsupported")
      await on.refuses("session/resize", { session: name, cols: 0, rows: "few" }, "cols", "rows")
      await on.fails("session/screen", { session: "nobody" }, "SessionNotFound")
    },
  },
]
