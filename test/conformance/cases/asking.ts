import assert from "node:assert/strict"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Case } from "../Case.ts"
import { eventually } from "../ConformanceClient.ts"

const unicode = 'grüße ☃ 𝄞 👩‍👩‍👧 e\u0301 \u2028 \u202e "quoted" \\ \t tab\nand a second line\r\n中文'

export const askingCases: ReadonlyArray<Case> = [
  {
    name: "asks, and answers with the ended turn",
    methods: ["session/ask", "turn/get"],
    run: async (on) => {
      const { name, id } = await on.echo()
      const turn = await on.ok("session/ask", { session: name, prompt: "hello" })
      assert.deepEqual(
        [turn.session, turn.status, turn.prompt, turn.text, turn.error],
        [id, "completed", "hello", "hello", null],
      )
      assert.ok(turn.lastSeq > turn.firstSeq && turn.durationMs >= 0)
      assert.deepEqual(await on.ok("turn/get", { turn: turn.id }), turn)
    },
  },
  {
    name: "keeps every character of a prompt and of an answer",
    methods: ["session/ask", "session/history"],
    run: async (on) => {
      const { name } = await on.demo()
      const turn = await on.ok("session/ask", { session: name, prompt: `/echo ${unicode}` })
      assert.equal(turn.text, unicode)
      const { turns } = await on.ok("session/history", { session: name })
      assert.deepEqual([turns[0].prompt, turns[0].text], [`/echo ${unicode}`, unicode])
    },
  },
  {
    name: "takes a prompt of 4 MB, and gives it back whole",
    methods: ["session/ask"],
    run: async (on) => {
      const { name } = await on.echo()
      const prompt = "all work and no play ".repeat(200_000)
      const { text } = await on.ok("session/ask", { session: name, prompt })
      assert.ok(text === prompt, `${text.length} characters came back of ${prompt.length}`)
    },
  },
  {
    name: "gives a turn that failed as a result",
    methods: ["session/ask"],
    run: async (on) => {
      const { name } = await on.demo()
      const turn = await on.ok("session/ask", { session: name, prompt: "/fail no such luck" })
      assert.deepEqual([turn.status, turn.error.message], ["failed", "no such luck"])
      const late = await on.ok("session/ask", { session: name, prompt: "/slow 60000 late", timeoutMs: 100 })
      assert.equal(late.status, "timed_out")
    },
  },
  {
    name: "takes a prompt in, and waits for its turn later",
    methods: ["session/tell", "turn/get", "turn/wait", "session/cancel"],
    errors: ["TurnNotFound"],
    run: async (on) => {
      const { name } = await on.mute()
      const told = await on.ok("session/tell", { session: name, prompt: "x" })
      assert.ok(["queued", "running"].includes(told.status))
      assert.equal((await on.ok("turn/wait", { turn: told.id, timeoutMs: 0 })).endedAt, null)
      const ended = on.ok("turn/wait", { turn: told.id })
      await on.ok("session/cancel", { session: name, turn: told.id })
      assert.equal((await ended).status, "cancelled")
      for (const method of ["turn/get", "turn/wait"]) {
        const { data } = await on.fails(method, { turn: "turn_nobody" }, "TurnNotFound")
        assert.equal(data["turn"], "turn_nobody")
      }
      await on.refuses("turn/wait", { turn: told.id, timeoutMs: -1 }, "timeoutMs")
    },
  },
  {
    name: "asks once, however often the same idempotency key comes",
    methods: ["session/ask", "session/tell", "session/history"],
    run: async (on) => {
      const { name } = await on.echo()
      const asked = { session: name, prompt: "once", idempotencyKey: "k 1/ü" }
      const [one, two, three] = [
        await on.ok("session/ask", asked),
        await on.ok("session/ask", asked),
        await on.ok("session/tell", asked),
      ]
      assert.equal(one.idempotencyKey, "k 1/ü")
      assert.deepEqual([two.id, three.id, three.status], [one.id, one.id, "completed"])
      assert.equal((await on.ok("session/history", { session: name })).turns.length, 1)
      assert.notEqual((await on.ok("session/ask", { ...asked, idempotencyKey: "k2" })).id, one.id)
    },
  },
  {
    name: "names the session that there is not, and the fields of a prompt that are wrong",
    methods: ["session/ask", "session/tell"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo()
      for (const method of ["session/ask", "session/tell"]) {
        const { data } = await on.fails(method, { session: "nobody", prompt: "x" }, "SessionNotFound")
        assert.deepEqual(data, { tag: "SessionNotFound", session: "nobody" })
        await on.refuses(method, { session: name }, "prompt")
        await on.refuses(
          method,
          { session: name, prompt: 7, timeoutMs: 0, haste: true },
          "prompt",
          "timeoutMs",
          "haste",
        )
        await on.refuses(method, { session: name, prompt: [{ type: "smell" }] }, "prompt.0")
      }
    },
  },
  {
    name: "refuses a turn where the mailbox is full",
    methods: ["session/tell", "session/ask"],
    errors: ["MailboxFull"],
    run: async (on) => {
      const { name } = await on.mute({ mailbox: { capacity: 1 } })
      await on.ok("session/tell", { session: name, prompt: "runs" })
      await on.ok("session/tell", { session: name, prompt: "waits" })
      for (const method of ["session/ask", "session/tell"]) {
        const { data } = await on.fails(method, { session: name, prompt: "too many" }, "MailboxFull")
        assert.deepEqual(data, { tag: "MailboxFull", session: name, capacity: 1 })
      }
    },
  },
  {
    name: "refuses a turn of a session that does not run, and says how it ended",
    methods: ["session/ask", "session/stop"],
    errors: ["SessionNotRunning"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.ok("session/stop", { session: name })
      const { data } = await on.fails("session/ask", { session: name, prompt: "x" }, "SessionNotRunning")
      assert.deepEqual([data["session"], data["status"]], [name, "stopped"])
      assert.match((data["exit"] as any).at, /Z$/)
    },
  },
  {
    name: "refuses a turn of a session that was restarted too often",
    methods: ["session/start", "session/ask", "session/get"],
    errors: ["RestartIntensityReached"],
    run: async (on) => {
      const { name } = await on.dying()
      const { data } = await on.fails("session/ask", { session: name, prompt: "x" }, "RestartIntensityReached")
      const tag = "RestartIntensityReached"
      assert.deepEqual(data, { tag, session: name, supervisor: null, maxRestarts: 0, withinMs: 60_000 })
    },
  },
  {
    name: "refuses a turn beyond a budget, and says which",
    methods: ["session/ask"],
    errors: ["LimitReached"],
    run: async (on) => {
      const { name } = await on.echo({ limits: { turns: 1 } })
      await on.ok("session/ask", { session: name, prompt: "x" })
      const { data } = await on.fails("session/ask", { session: name, prompt: "x" }, "LimitReached")
      assert.equal(data["value"], 1)
      assert.match(String(data["limit"]), /turns/)
    },
  },
  {
    name: "takes files with a prompt, and none from elsewhere",
    methods: ["session/ask"],
    errors: ["InvalidParams"],
    run: async (on) => {
      writeFileSync(join(on.directory, "note.txt"), "from the file")
      const { name } = await on.echo({ cwd: on.directory, protocol: "ndjson" })
      const file = (path: string) => ({ type: "file", path })
      const { text } = await on.ok("session/ask", { session: name, prompt: "see", attachments: [file("note.txt")] })
      const resource = { type: "resource", name: "note.txt", mimeType: "text/plain", data: "from the file" }
      assert.deepEqual(JSON.parse(text).content, [{ type: "text", text: "see" }, resource])
      await on.refuses("session/ask", { session: name, prompt: [file("/etc/passwd")] }, "prompt.0.path")
      await on.refuses(
        "session/ask",
        { session: name, prompt: "see", attachments: [{ type: "file", path: 1 }] },
        "attachments.0.path",
      )
    },
  },
  {
    name: "gives the entries of a turn as they come, and then the turn",
    methods: ["session/ask"],
    needs: ["entries of a turn as they come"],
    run: async (on) => {
      const { name } = await on.demo()
      const { entries, answer } = on.stream({ session: name, prompt: "/stream 20 word" })
      await eventually("the first words", () => entries.some(({ type }) => type === "turn/delta"))
      assert.ok(!entries.some(({ type }) => type === "turn/ended"), "they came only when it had ended")
      const settled = await answer
      assert.ok(settled.ok)
      assert.equal(entries.at(-1).type, "turn/ended")
      assert.ok(entries.every(({ turn }) => turn === settled.result.id))
      const seqs = entries.map(({ seq }) => seq)
      assert.deepEqual(
        seqs,
        seqs.toSorted((a, b) => a - b),
      )
      const words = entries.flatMap((entry) => (entry.type === "turn/delta" ? [entry.text] : []))
      assert.deepEqual([words.length, words.join("")], [20, settled.result.text])
    },
  },
  {
    name: "refuses a streamed turn as any other",
    methods: ["session/ask"],
    errors: ["SessionNotFound", "InvalidParams"],
    needs: ["entries of a turn as they come"],
    run: async (on) => {
      const lost = await on.stream({ session: "nobody", prompt: "x" }).answer
      assert.ok(!lost.ok && lost.failure.tag === "SessionNotFound")
      on.failed.add("SessionNotFound")
      const { name } = await on.echo()
      const wrong = await on.stream({ session: name, prompt: 1 }).answer
      assert.ok(!wrong.ok && wrong.failure.tag === "InvalidParams")
      on.failed.add("InvalidParams")
    },
  },
  {
    name: "answers many at once, each with its own",
    methods: ["session/ask"],
    run: async (on) => {
      const sessions = await Promise.all(Array.from({ length: 5 }, () => on.echo()))
      const asked = Array.from({ length: 100 }, async (_, at) => {
        const session = sessions[at % sessions.length].name
        const { text } = await on.ok("session/ask", { session, prompt: `question ${at}` })
        assert.equal(text, `question ${at}`)
      })
      await Promise.all(asked)
    },
  },
]
