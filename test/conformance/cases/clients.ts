import assert from "node:assert/strict"
import type { Case } from "../Case.ts"
import { eventually, isFailure } from "../ConformanceClient.ts"

const limitBytes = 16 * 1024 * 1024

export const clientCases: ReadonlyArray<Case> = [
  {
    name: "takes a message of exactly the limit",
    methods: ["session/tell", "session/start"],
    needs: ["messages"],
    run: async (on) => {
      const { name } = await on.echo()
      const { prompt } = await on.ok("session/tell", { session: name, prompt: "small" }, { bytes: limitBytes })
      assert.equal(prompt, "small")
    },
  },
  {
    name: "refuses a message over the limit, and goes on",
    methods: ["session/tell", "session/start"],
    needs: ["messages"],
    run: async (on) => {
      const { name } = await on.echo()
      const params = { session: name, prompt: "large" }
      const answer = await on.try("session/tell", params, { bytes: limitBytes + 1 })
      assert.ok(!answer.ok)
      const { tag, code, status } = answer.failure
      assert.deepEqual([tag, code, status ?? 413], ["MessageTooLarge", -32600, 413])
      // A WebSocket ends with it; what it was connected to does not.
      await on.client.disconnect()
      const next = await on.world.connect()
      const { text } = await on.ok("session/ask", { session: name, prompt: "and now?" }, { of: next })
      assert.equal(text, "and now?")
      const { turns } = await on.ok("session/get", { session: name }, { of: next })
      assert.equal(turns.completed, 1)
    },
    alone: true,
  },
  {
    name: "gives up a request that waits, and its turn goes on",
    methods: ["session/ask", "session/history", "turn/wait"],
    needs: ["giving up"],
    run: async (on) => {
      const { name } = await on.demo()
      const giveUp = new AbortController()
      const asked = on.try(
        "session/ask",
        { session: name, prompt: "/slow 600 said all the same" },
        { signal: giveUp.signal },
      )
      const turns = async () => (await on.ok("session/history", { session: name })).turns
      await eventually("it runs", async () => (await turns())[0]?.status === "running")
      giveUp.abort()
      const answer = await asked
      assert.ok(!answer.ok)
      assert.deepEqual([answer.failure.tag, answer.failure.code], ["RequestCancelled", -32800])
      const [{ id }] = await turns()
      const ended = await on.ok("turn/wait", { turn: id })
      assert.deepEqual([ended.status, ended.text], ["completed", "said all the same"])
    },
  },
  {
    name: "ends the turn of a client that is gone, and shows it to the next",
    methods: ["session/ask", "session/history", "turn/wait", "session/transcript"],
    needs: ["returning clients"],
    alone: true,
    run: async (on) => {
      const { name } = await on.demo()
      const prompt = "/slow 500 nobody heard it"
      const asked = on.try("session/ask", { session: name, prompt }).catch(() => undefined)
      await eventually("it runs", async () => {
        const { turns } = await on.ok("session/history", { session: name })
        return turns[0]?.status === "running"
      })
      await on.client.disconnect()
      await asked
      const next = await on.world.connect()
      const { turns } = await on.ok("session/history", { session: name }, { of: next })
      assert.equal(turns.length, 1)
      const ended = await on.ok("turn/wait", { turn: turns[0].id }, { of: next })
      assert.deepEqual([ended.status, ended.text], ["completed", "nobody heard it"])
      const { entries } = await on.ok("session/transcript", { session: name, turn: ended.id }, { of: next })
      assert.deepEqual(
        entries.flatMap(({ type }: any) => (type === "turn/queued" || type === "turn/ended" ? [type] : [])),
        ["turn/queued", "turn/ended"],
      )
      await next.disconnect()
    },
  },
  {
    name: "shows every client the same",
    methods: ["session/ask", "session/get"],
    needs: ["clients"],
    run: async (on) => {
      const { name } = await on.echo()
      const other = await on.world.connect()
      await on.ok("session/ask", { session: name, prompt: "x" }, { of: other })
      const [own, others] = [
        await on.ok("session/get", { session: name }),
        await on.ok("session/get", { session: name }, { of: other }),
      ]
      assert.deepEqual(own, others)
      assert.equal(own.turns.completed, 1)
      await other.disconnect()
      assert.equal((await on.ok("session/ask", { session: name, prompt: "still there" })).text, "still there")
    },
  },
  {
    name: "gives every subscriber every entry, also when one of them leaves",
    methods: ["session/subscribe", "session/ask"],
    needs: ["clients"],
    run: async (on) => {
      const { name } = await on.demo()
      const [leaves, stays] = [await on.world.connect(), await on.world.connect()]
      await on.follow({ session: name, after: 0 }, leaves)
      const followed = await on.follow({ session: name, after: 0 }, stays)
      const asked = on.ok("session/ask", { session: name, prompt: "/stream 40 word" })
      await eventually("it has begun", () => followed.events.length > 10)
      await leaves.disconnect()
      await asked
      const { seq } = await on.ok("session/get", { session: name })
      await eventually("all is there", () => followed.events.length >= seq)
      assert.deepEqual(
        followed.events.map((event) => ("entry" in event ? event.entry.seq : event)),
        Array.from({ length: seq }, (_, at) => at + 1),
      )
      await stays.disconnect()
    },
  },
  {
    name: "lets nobody in without a token, and no token do what it may not",
    methods: ["session/get", "session/start"],
    errors: ["Unauthorized", "Forbidden"],
    needs: ["tokens"],
    run: async (on) => {
      const { name } = await on.echo()
      const [nobody, stranger, reader] = [
        await on.world.connect("nobody"),
        await on.world.connect("stranger"),
        await on.world.connect("reader"),
      ]
      for (const other of [nobody, stranger])
        await on.fails("session/get", { session: name }, "Unauthorized", { of: other })
      assert.equal((await on.ok("session/get", { session: name }, { of: reader })).name, name)
      await on.fails("session/start", { name: on.name(), command: "cat" }, "Forbidden", { of: reader })
      const refused = await nobody.subscribe({ session: name }).catch(() => undefined)
      if (refused !== undefined) assert.ok(isFailure(refused) && refused.tag === "Unauthorized")
    },
  },
]
