/**
 * What is expected of Codex under the protocol, as scenes of one process or more. Played against the real CLI by
 * `codexRecord.ts`, which writes down the wire, and against those recordings by `npm test`. What the model says: `MockScript`.
 */
import assert from "node:assert/strict"
import type { ProtocolEvent, Resumption } from "../../src/protocols/Protocol.ts"
import type { Driven } from "./CodexDriver.ts"

/** Starts the scene's next process, without waiting until it is ready. */
export type Open = (from?: Resumption) => Driven

const textOf = (events: ReadonlyArray<ProtocolEvent>): string =>
  events.map((event) => (event.type === "delta" ? event.text : "")).join("")

const ready = async (open: Open, from?: Resumption): Promise<Driven> => {
  const it = open(from)
  await it.next("ready")
  return it
}

const conversationOf = (it: Driven): string => {
  const id = it.events.findLast((event) => event.type === "conversation")?.id
  assert.ok(id !== undefined, "no conversation was told")
  return id
}

const answers = async (it: Driven, prompt: string, expected: string | RegExp): Promise<void> => {
  const before = it.events.length
  const { status, text, stopReason, error } = await it.ask(prompt)
  assert.equal(status, "completed", JSON.stringify(error))
  assert.equal(stopReason, "end_turn")
  if (typeof expected === "string") assert.equal(text, expected)
  else assert.match(text, expected)
  assert.equal(textOf(it.events.slice(before)), text)
}

const endsWell = async (it: Driven): Promise<void> => {
  assert.equal(await it.stop(), 0)
  assert.ok(!it.events.some(({ type }) => type === "broken"))
}

export const scenes: Readonly<Record<string, (open: Open) => Promise<void>>> = {
  conversation: async (open) => {
    const it = await ready(open)
    assert.ok(!it.events.some(({ type }) => type === "conversation"), "it ran nothing yet and cannot be resumed")
    await answers(it, "hello", "heard: hello")
    conversationOf(it)
    await answers(it, "count 12 5", "1 2 3 4 5 6 7 8 9 10 11 12 ")
    await answers(it, "think twice", "thought it over")
    assert.ok(it.events.some((event) => event.type === "thought" && event.text === "twice"))
    await answers(it, "recall", "hello | count 12 5 | think twice | recall")
    const usage = it.events.flatMap((event) => (event.type === "ended" ? [event.usage] : []))
    const each = { inputTokens: 6, outputTokens: 5, cacheReadTokens: 4, cacheWriteTokens: 0, reasoningTokens: 1 }
    assert.deepEqual(usage, [each, each, each, each])
    assert.equal(it.events.filter(({ type }) => type === "conversation").length, 1)
    await endsWell(it)
  },

  interrupted: async (open) => {
    const it = await ready(open)
    let ended = it.next("ended")
    const third = it.next("delta", ({ text }) => text === "3 ")
    it.prompt("count 500 20")
    await third
    it.cancel()
    const { status, text } = await ended
    assert.equal(status, "cancelled")
    assert.match(text, /^1 2 3 /)
    // Before it began it cannot be interrupted yet.
    ended = it.next("ended")
    it.prompt("count 500 20")
    it.cancel()
    assert.equal((await ended).status, "cancelled")
    await answers(it, "still there?", "heard: still there?")
    await endsWell(it)
  },

  tools: async (open) => {
    const it = await ready(open)
    await answers(it, "run echo one && sleep 0.3 && echo two", /^ran: [^]*one\ntwo$/)
    const ran = it.events.flatMap((event) => (event.type === "tool" ? [event] : []))
    assert.equal(ran[0]?.name, "shell")
    assert.equal(ran[0]?.status, "in_progress")
    assert.equal((ran[0]?.input as { command?: string } | undefined)?.command, "echo one && sleep 0.3 && echo two")
    const { text, exitCode } = (ran.at(-1)?.output ?? {}) as { text?: string; exitCode?: number }
    assert.deepEqual([ran.at(-1)?.status, text, exitCode], ["completed", "one\ntwo\n", 0])
    await answers(it, "run exit 3", /exited with code 3/)
    const failed = it.events.findLast((event) => event.type === "tool")
    assert.equal(failed?.status, "failed")
    await answers(it, 'use apply_patch {"file":"told.txt","text":"by a patch"}', /Success/)
    const patched = it.events.findLast((event) => event.type === "tool")
    assert.deepEqual([patched?.name, patched?.status], ["apply_patch", "completed"])
    await endsWell(it)
  },

  permissions: async (open) => {
    const it = await ready(open)
    const ask = async (prompt: string, option: string) => {
      const asked = it.next("permission")
      const ended = it.next("ended")
      it.prompt(prompt)
      const { request, tool, input, options } = await asked
      assert.equal(tool, "shell")
      assert.equal((input as { command?: string }).command, prompt.replace("run escalated ", ""))
      assert.deepEqual(new Set(options.map(({ kind }) => kind)), new Set(["allow_once", "allow_always", "reject_once"]))
      it.answer(request, option)
      return await ended
    }
    assert.match((await ask("run escalated echo once", "accept")).text, /once$/)
    const denied = await ask("run escalated echo never", "decline")
    assert.deepEqual([denied.status, /rejected by user/.test(denied.text)], ["completed", true])
    assert.equal(it.events.findLast((event) => event.type === "tool")?.status, "declined")
    assert.equal((await ask("run escalated echo stop", "cancel")).status, "cancelled")
    assert.match((await ask("run escalated echo always", "acceptForSession")).text, /always$/)
    await answers(it, "run escalated echo always", /always$/)
    assert.equal(it.events.filter(({ type }) => type === "permission").length, 4)
    assert.ok(!it.events.some(({ type }) => type === "permissionWithdrawn"))
    await endsWell(it)
  },

  "cancelled-while-asking": async (open) => {
    const it = await ready(open)
    const asked = it.next("permission")
    const ended = it.next("ended")
    it.prompt("run escalated echo unheard")
    const { request } = await asked
    it.cancel()
    assert.equal((await ended).status, "cancelled")
    it.answer(request, "accept")
    await answers(it, "recall", "run escalated echo unheard | recall")
    await endsWell(it)
  },

  failures: async (open) => {
    const it = await ready(open)
    for (const status of [400, 429]) {
      const failed = await it.ask(`fail ${status}`)
      assert.deepEqual([failed.status, failed.error?.tag], ["failed", "AgentError"])
      assert.match(failed.error?.message ?? "", status === 400 ? /refused with 400, as asked/ : /429/)
    }
    await answers(it, "and now?", "heard: and now?")
    await endsWell(it)
  },

  "own-turns": async (open) => {
    const it = await ready(open)
    const begins = () =>
      it.next("native", ({ message }) => (message as { readonly method?: string }).method === "turn/started")
    let begun = begins()
    await answers(it, 'use create_goal {"objective":"to be busy"}', /busy/)
    await begun
    begun = begins()
    // Asked for when the agent is done with its own: before that it would steer it.
    await answers(it, "hello", "heard: hello")
    await begun
    const ended = it.next("ended")
    it.prompt("never asked")
    it.cancel()
    assert.deepEqual([(await ended).status, (await ended).text], ["cancelled", ""])
    await answers(it, "recall", 'use create_goal {"objective":"to be busy"} | hello | recall')
    await endsWell(it)
  },

  killed: async (open) => {
    const first = await ready(open)
    await answers(first, "remember me", "heard: remember me")
    const third = first.next("delta", ({ text }) => text === "3 ")
    first.prompt("count 500 20")
    await third
    assert.equal(await first.stop("SIGKILL"), "SIGKILL")
    const second = await ready(open, { conversation: conversationOf(first), fork: false })
    await answers(second, "recall", "remember me | count 500 20 | recall")
    assert.equal(conversationOf(second), conversationOf(first))
    await endsWell(second)
  },

  forked: async (open) => {
    const first = await ready(open)
    await answers(first, "the trunk", "heard: the trunk")
    await endsWell(first)
    const trunk = conversationOf(first)
    const second = await ready(open, { conversation: trunk, fork: true })
    const branch = conversationOf(second)
    assert.notEqual(branch, trunk)
    await answers(second, "the branch", "heard: the branch")
    await answers(second, "recall", "the trunk | the branch | recall")
    await endsWell(second)
    const third = await ready(open, { conversation: trunk, fork: false })
    await answers(third, "recall", "the trunk | recall")
    await endsWell(third)
  },

  unknown: async (open) => {
    const conversation = "01a1fde9-5a27-7623-9fdf-43fdffbd6f8e"
    const it = open({ conversation, fork: false })
    const { detail } = await it.next("broken")
    assert.match(detail, new RegExp(`cannot go on with the conversation ${conversation}: no rollout found`))
    assert.equal(await it.stop(), 0)
  },

  stopped: async (open) => {
    const it = await ready(open)
    const begun = it.next("tool")
    it.prompt("run sleep 60")
    await begun
    assert.equal(await it.stop(), 0)
    assert.ok(!it.events.some(({ type }) => type === "ended"))
  },
}
