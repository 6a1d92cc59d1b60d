import assert from "node:assert/strict"
import type { Case } from "../Case.ts"

export const recordCases: ReadonlyArray<Case> = [
  {
    name: "lists sessions page by page, by tag, status and task",
    methods: ["session/list", "session/start", "session/stop"],
    errors: ["InvalidParams"],
    run: async (on) => {
      const tags = { suite: on.name("tag") }
      const started: Array<string> = []
      for (let n = 0; n < 5; n++) started.push((await on.echo({ tags })).name)
      const seen: Array<string> = []
      let pages = 0
      for (let cursor: string | null = ""; cursor !== null; pages++) {
        const page: any = await on.ok("session/list", { tags, limit: 2, ...(cursor === "" ? {} : { cursor }) })
        assert.ok(page.sessions.length <= 2)
        seen.push(...page.sessions.map(({ name }: any) => name))
        cursor = page.nextCursor
      }
      assert.deepEqual(seen, started)
      assert.ok(pages === 3 || pages === 4)
      await on.ok("session/stop", { session: started[0] })
      const stopped = await on.ok("session/list", { tags, status: "stopped" })
      assert.deepEqual(
        stopped.sessions.map(({ name }: any) => name),
        [started[0]],
      )
      const either = await on.ok("session/list", { tags, status: ["stopped", "ready"] })
      assert.equal(either.sessions.length, 5)
      assert.deepEqual((await on.ok("session/list", { task: on.name("nothing") })).sessions, [])
      await on.refuses("session/list", { limit: 0, status: ["odd"], colour: "red" }, "limit", "status.0", "colour")
    },
  },
  {
    name: "reads a transcript page by page, by type and by turn",
    methods: ["session/transcript", "session/ask"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo()
      const turns: Array<any> = []
      for (let n = 0; n < 5; n++) turns.push(await on.ok("session/ask", { session: name, prompt: `question ${n}` }))
      const entries: Array<any> = []
      for (let after = 0; ;) {
        const page = await on.ok("session/transcript", { session: name, after, limit: 3 })
        if (page.entries.length === 0) break
        assert.ok(page.entries.length <= 3)
        assert.equal(page.trimmed, 0)
        entries.push(...page.entries)
        after = page.nextAfter
      }
      const { seq } = await on.ok("session/get", { session: name })
      assert.deepEqual(
        entries.map((entry) => entry.seq),
        Array.from({ length: seq }, (_, at) => at + 1),
      )
      const ended = await on.ok("session/transcript", { session: name, types: ["turn/ended", "turn/queued"] })
      assert.equal(ended.entries.length, 10)
      const own = await on.ok("session/transcript", { session: name, turn: turns[2].id })
      assert.ok(own.entries.length >= 3 && own.entries.every((entry: any) => entry.turn === turns[2].id))
      assert.equal((await on.ok("session/transcript", { session: name, all: true })).entries.length, seq)
      await on.refuses("session/transcript", { session: name, after: -1, types: ["smell"] }, "after", "types.0")
      await on.fails("session/transcript", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "says what the limits of a session have dropped",
    methods: ["session/transcript", "session/ask"],
    run: async (on) => {
      const { name } = await on.echo({ limits: { transcriptEntries: 20 } })
      for (let n = 0; n < 30; n++) await on.ok("session/ask", { session: name, prompt: `question ${n}` })
      const { seq } = await on.ok("session/get", { session: name })
      const { entries, trimmed } = await on.ok("session/transcript", { session: name })
      assert.deepEqual([entries[0].seq, trimmed], [seq - 19, seq - 20])
    },
  },
  {
    name: "reads what a session was asked, newest first, page by page",
    methods: ["session/history", "session/ask"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo()
      for (let n = 0; n < 5; n++) await on.ok("session/ask", { session: name, prompt: `question ${n}` })
      const prompts: Array<string> = []
      let before: number | null | undefined
      do {
        const page: any = await on.ok("session/history", {
          session: name,
          limit: 2,
          ...(before === undefined ? {} : { before }),
        })
        prompts.push(...page.turns.map(({ prompt }: any) => prompt))
        before = page.nextBefore
      } while (before !== null)
      assert.deepEqual(
        prompts,
        [4, 3, 2, 1, 0].map((n) => `question ${n}`),
      )
      await on.refuses("session/history", { session: name, limit: 0 }, "limit")
      await on.fails("session/history", { session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "finds turns by their words",
    methods: ["session/search", "session/ask"],
    errors: ["SessionNotFound", "InvalidParams"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.ok("session/ask", { session: name, prompt: "a zebra crossed the grüne Wiese" })
      await on.ok("session/ask", { session: name, prompt: "nothing to see" })
      const { hits } = await on.ok("session/search", { query: "WIESE zebra", session: name })
      assert.deepEqual(
        hits.map(({ turn }: any) => turn.prompt),
        ["a zebra crossed the grüne Wiese"],
      )
      assert.match(hits[0].snippet, /zebra/)
      assert.deepEqual((await on.ok("session/search", { query: "unheardof", session: name })).hits, [])
      await on.refuses("session/search", { query: "", limit: 5000 }, "query", "limit")
      await on.fails("session/search", { query: "x", session: "nobody" }, "SessionNotFound")
    },
  },
  {
    name: "keeps templates, starts from them, and forgets them",
    methods: ["template/put", "template/get", "template/list", "template/remove", "session/start"],
    errors: ["TemplateNotFound", "InvalidParams"],
    run: async (on) => {
      const name = on.name("template")
      const template = { command: "cat", protocol: "lines", env: { KEY: "s3cr3t" }, tags: { from: "template" } }
      const put = await on.ok("template/put", { name, template })
      assert.deepEqual([put.name, put.source, put.template.env], [name, "client", { KEY: "***" }])
      assert.deepEqual(await on.ok("template/get", { name }), put)
      const { templates } = await on.ok("template/list", {})
      assert.ok(templates.some((each: any) => each.name === name && each.source === "client"))
      assert.ok(templates.some((each: any) => each.name === "demo" && each.source === "built-in"))
      const { spec } = await on.ok("session/start", { name: on.name(), template: name })
      assert.deepEqual([spec.template, spec.command, spec.tags], [name, "cat", { from: "template" }])
      await on.refuses("template/put", { name, template: { comand: "cat" } }, "template.comand")
      assert.deepEqual(await on.ok("template/remove", { name }), {})
      for (const method of ["template/get", "template/remove"]) {
        const { data } = await on.fails(method, { name }, "TemplateNotFound")
        assert.equal(data["template"], name)
      }
    },
  },
  {
    name: "lets nobody change a template of the configuration file",
    methods: ["template/put", "template/remove", "template/get"],
    errors: ["Forbidden"],
    needs: ["a configuration file"],
    run: async (on) => {
      assert.equal((await on.ok("template/get", { name: "fixed" })).source, "file")
      await on.fails("template/put", { name: "fixed", template: { command: "sh" } }, "Forbidden")
      await on.fails("template/remove", { name: "fixed" }, "Forbidden")
    },
  },
]
