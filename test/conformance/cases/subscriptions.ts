import assert from "node:assert/strict"
import { fileURLToPath } from "node:url"
import type { Case } from "../Case.ts"
import { eventually, type Followed } from "../ConformanceClient.ts"

const rpcServer = fileURLToPath(new URL("../../fixtures/rpcServer.ts", import.meta.url))

const entriesOf = ({ events }: Followed): ReadonlyArray<any> =>
  events.flatMap((event) => ("entry" in event ? [event.entry] : []))

const upTo = (from: number, through: number): ReadonlyArray<number> =>
  Array.from({ length: Math.max(0, through - from) }, (_, at) => from + at + 1)

const seqs = (followed: Followed) => entriesOf(followed).map(({ seq }) => seq)

export const subscriptionCases: ReadonlyArray<Case> = [
  {
    name: "gives what is stored after a place, then what comes, each entry once",
    methods: ["session/subscribe", "session/ask"],
    run: async (on) => {
      const { name } = await on.demo()
      for (let n = 0; n < 3; n++) await on.ok("session/ask", { session: name, prompt: "/stream 5 before" })
      const asked = on.ok("session/ask", { session: name, prompt: "/stream 30 meanwhile" })
      const [all, some] = [await on.follow({ session: name, after: 0 }), await on.follow({ session: name, after: 7 })]
      await asked
      await on.ok("session/ask", { session: name, prompt: "/stream 30 later" })
      const { seq } = await on.ok("session/get", { session: name })
      await eventually("all is there", () => seqs(all).at(-1) === seq && seqs(some).at(-1) === seq)
      assert.deepEqual(seqs(all), upTo(0, seq))
      assert.deepEqual(seqs(some), upTo(7, seq))
      const { entries } = await on.ok("session/transcript", { session: name, limit: 10_000 })
      assert.deepEqual(entriesOf(all), entries)
    },
  },
  {
    name: "gives only what comes, and only the types asked for",
    methods: ["session/subscribe", "session/ask"],
    errors: ["InvalidParams", "SessionNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      await on.ok("session/ask", { session: name, prompt: "before" })
      const followed = await on.follow({ session: name, types: ["turn/ended"] })
      await on.ok("session/ask", { session: name, prompt: "after" })
      await eventually("it comes", () => followed.events.length > 0)
      assert.deepEqual(
        entriesOf(followed).map(({ type, text }) => [type, text]),
        [["turn/ended", "after"]],
      )
      const wrong = await on.followFails({ session: name, types: ["smell"], after: -1 }, "InvalidParams")
      assert.deepEqual((wrong.data["issues"] as ReadonlyArray<any>).map(({ path }) => path).toSorted(), [
        "after",
        "types.0",
      ])
      assert.deepEqual((await on.followFails({ session: "nobody", after: 0 }, "SessionNotFound")).data, {
        tag: "SessionNotFound",
        session: "nobody",
      })
    },
  },
  {
    name: "gives the entries of every session",
    methods: ["session/subscribe", "session/start", "session/ask"],
    errors: ["InvalidParams"],
    run: async (on) => {
      const followed = await on.follow({ types: ["turn/ended"] })
      const sessions = [await on.echo(), await on.echo()]
      for (const { name } of sessions) await on.ok("session/ask", { session: name, prompt: `to ${name}` })
      const own = () => entriesOf(followed).filter(({ session }) => sessions.some(({ id }) => id === session))
      await eventually("both have come", () => own().length === 2)
      assert.deepEqual(
        own().map(({ text }) => text),
        sessions.map(({ name }) => `to ${name}`),
      )
      const { data } = await on.followFails({ after: 0 }, "InvalidParams")
      assert.equal((data["issues"] as ReadonlyArray<any>)[0].path, "after")
    },
  },
  {
    name: "says which entries were dropped before they could be read",
    methods: ["session/subscribe", "session/ask"],
    run: async (on) => {
      const { name, id } = await on.echo({ limits: { transcriptEntries: 20 } })
      for (let n = 0; n < 30; n++) await on.ok("session/ask", { session: name, prompt: `question ${n}` })
      const { seq } = await on.ok("session/get", { session: name })
      const followed = await on.follow({ session: name, after: 3 })
      await eventually("the rest is there", () => seqs(followed).at(-1) === seq)
      assert.deepEqual(followed.events[0], { missed: { session: id, after: 3, through: seq - 20 } })
      assert.deepEqual(seqs(followed), upTo(seq - 20, seq))
    },
  },
  {
    name: "ends when the session is removed",
    methods: ["session/subscribe", "session/remove"],
    run: async (on) => {
      const { name } = await on.echo()
      const followed = await on.follow({ session: name, after: 0 })
      await eventually("it has begun", () => followed.events.length > 0)
      await on.ok("session/remove", { session: name })
      await eventually("it has ended", () => followed.events.some((event) => "ended" in event))
      assert.ok("ended" in followed.events.at(-1)!)
    },
  },
  {
    name: "gives no more once it was ended, and knows no subscription twice",
    methods: ["session/subscribe", "session/unsubscribe", "session/ask"],
    errors: ["SubscriptionNotFound"],
    run: async (on) => {
      const { name } = await on.echo()
      const [ended, goesOn] = [await on.follow({ session: name }), await on.follow({ session: name })]
      assert.deepEqual(await on.ok("session/unsubscribe", { subscription: ended.id }), {})
      await on.ok("session/ask", { session: name, prompt: "x" })
      await eventually("the other goes on", () => entriesOf(goesOn).some(({ type }) => type === "turn/ended"))
      assert.deepEqual(ended.events, [])
      const { data } = await on.fails("session/unsubscribe", { subscription: ended.id }, "SubscriptionNotFound")
      assert.equal(data["subscription"], ended.id)
    },
  },
  {
    name: "tells who comes late of a permission request that still waits",
    methods: ["session/subscribe", "session/tell", "session/answer", "session/get"],
    run: async (on) => {
      const name = on.name("rpc")
      const protocol = { type: "jsonrpc", framing: "lines" }
      await on.ok("session/start", { name, command: process.execPath, args: [rpcServer, "lines"], protocol })
      const prompt = JSON.stringify({ method: "ask", params: { method: "wonder/about", params: {} } })
      await on.ok("session/tell", { session: name, prompt })
      const asked = async () => (await on.ok("session/get", { session: name })).pendingRequests[0]?.request
      await eventually("it asks", async () => (await asked()) !== undefined)
      const late = await on.follow({ session: name })
      await eventually("it is told", () => late.events.length > 0)
      const [first] = entriesOf(late)
      assert.deepEqual([first.type, first.request], ["permission/requested", await asked()])
      // So is who follows all sessions, whichever others there are.
      const all = await on.follow({ types: ["permission/requested"] })
      const { id } = await on.ok("session/get", { session: name })
      const ofThis = () => entriesOf(all).filter(({ session }) => session === id)
      await eventually("it is told as well", () => ofThis().length > 0)
      assert.deepEqual(
        ofThis().map(({ request }) => request),
        [first.request],
      )
      await on.ok("session/answer", { session: name, request: first.request, outcome: "deny" })
      await eventually("and of its answer", () => entriesOf(late).some(({ type }) => type === "permission/resolved"))
    },
  },
]
