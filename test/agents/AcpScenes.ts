/**
 * What is expected of an ACP agent under the protocol, as scenes of one process or more. Played against the real
 * claude-agent-acp by `acpRecord.ts`, which writes down the wire, and by `npm test` against those recordings and against the
 * agent of our own. What the model says: `MockScript`.
 */
import assert from "node:assert/strict"
import type { AcpOptions } from "../../src/protocols/Acp.ts"
import type { ProtocolEvent, Resumption } from "../../src/protocols/Protocol.ts"
import type { Driven } from "./CodexDriver.ts"

export interface Opening {
  readonly from?: Resumption
  readonly options?: AcpOptions
  /** The protocol is not told that the agent can resume. */
  readonly loads?: boolean
}

/** Starts the scene's next process, without waiting until it is ready. */
export type Open = (opening?: Opening) => Driven

type Kind<T extends ProtocolEvent["type"]> = Extract<ProtocolEvent, { readonly type: T }>

const all = <T extends ProtocolEvent["type"]>(it: Driven, type: T): ReadonlyArray<Kind<T>> =>
  it.events.filter((event): event is Kind<T> => event.type === type)

const ready = async (open: Open, opening?: Opening): Promise<Driven> => {
  const it = open(opening)
  await it.next("ready")
  return it
}

const answers = async (it: Driven, prompt: string, expected: string | RegExp): Promise<Kind<"ended">> => {
  const before = it.events.length
  const ended = await it.ask(prompt)
  assert.equal(ended.status, "completed", JSON.stringify(ended.error))
  assert.equal(ended.stopReason, "end_turn")
  if (typeof expected === "string") assert.equal(ended.text, expected)
  else assert.match(ended.text, expected)
  const told = it.events.slice(before).map((event) => (event.type === "delta" ? event.text : ""))
  assert.equal(told.join(""), ended.text)
  return ended
}

const endsWell = async (it: Driven): Promise<void> => {
  await it.stop()
  assert.deepEqual(all(it, "broken"), [])
  assert.deepEqual(all(it, "output"), [])
}

const conversationOf = (it: Driven): string => {
  const told = all(it, "conversation")
  assert.equal(told.length, 1)
  return told[0]!.id
}

/** Up to the request for leave; the promise of the turn's end is in an object, or it would be waited for. */
const askedForLeave = async (it: Driven, command: string) => {
  const permission = it.next("permission")
  const ended = it.next("ended")
  it.prompt(`run ${command}`)
  return { permission: await permission, ended }
}

const optionOf = ({ options }: Kind<"permission">, kind: string): string => {
  const found = options.find((option) => option.kind === kind)
  assert.ok(found !== undefined, `no ${kind} among ${JSON.stringify(options)}`)
  return found.id
}

/** Until the answer is under way. */
const talking = async (it: Driven) => {
  const third = it.next("delta", ({ text }) => text === "3 ")
  const ended = it.next("ended")
  ended.catch(() => {})
  it.prompt("count 500 20")
  await third
  return { ended }
}

export const scenes: Readonly<Record<string, (open: Open) => Promise<void>>> = {
  conversation: async (open) => {
    const it = await ready(open)
    assert.deepEqual(all(it, "conversation"), [], "nothing was said in it yet, and it cannot be resumed")
    await answers(it, "hello", "heard: hello")
    await answers(it, "count 12 5", "1 2 3 4 5 6 7 8 9 10 11 12 ")
    await answers(it, "think twice", "thought it over")
    assert.ok(all(it, "thought").some(({ text }) => text === "twice"))
    const { usage } = await answers(it, "recall", "hello | count 12 5 | think twice | recall")
    assert.deepEqual([usage?.["inputTokens"], usage?.["outputTokens"]], [11, 7])
    for (const each of all(it, "ended")) assert.ok((each.usage?.["costUsd"] ?? 0) > 0, JSON.stringify(each.usage))
    conversationOf(it)
    await endsWell(it)
  },

  interrupted: async (open) => {
    const it = await ready(open)
    const { ended } = await talking(it)
    it.cancel()
    const { status, text } = await ended
    assert.equal(status, "cancelled")
    assert.match(text, /^1 2 3 /)
    await answers(it, "still there?", "heard: still there?")
    await endsWell(it)
  },

  tools: async (open) => {
    const it = await ready(open)
    const first = await askedForLeave(it, "echo one > file; cat file")
    assert.equal((first.permission.input as { command?: string }).command, "echo one > file; cat file")
    it.answer(first.permission.request, optionOf(first.permission, "allow_once"))
    const { status, text } = await first.ended
    assert.deepEqual([status, text], ["completed", "a tool: \n\nran: one"])
    const ran = all(it, "tool")
    assert.equal(ran[0]?.name, first.permission.tool)
    assert.equal(ran[0]?.status, "pending")
    assert.deepEqual([ran.at(-1)?.status, String(ran.at(-1)?.output).trim()], ["completed", "one"])
    assert.equal(new Set(ran.map(({ toolId }) => toolId)).size, 1)

    const second = await askedForLeave(it, "echo two > file; cat file")
    assert.notEqual(second.permission.request, first.permission.request)
    it.answer(second.permission.request, optionOf(second.permission, "reject_once"))
    assert.equal((await second.ended).status, "completed")
    assert.equal(all(it, "tool").at(-1)?.status, "failed")
    await answers(it, "and now?", "heard: and now?")
    await endsWell(it)
  },

  "cancelled-while-asking": async (open) => {
    const it = await ready(open)
    const { permission, ended } = await askedForLeave(it, "echo one > file; cat file")
    it.cancel()
    assert.equal((await ended).status, "cancelled")
    // Too late: it is answered already.
    it.answer(permission.request, optionOf(permission, "allow_once"))
    await answers(it, "and now?", "heard: and now?")
    await endsWell(it)
  },

  "on-its-own": async (open) => {
    const it = await ready(open)
    const input = { command: "touch aside; sleep 0.3", description: "aside", run_in_background: true }
    const permission = it.next("permission")
    const ended = it.next("ended")
    it.prompt(`use Bash ${JSON.stringify(input)}`)
    const asked = await permission
    it.answer(asked.request, optionOf(asked, "allow_once"))
    assert.equal((await ended).status, "completed")
    // It speaks of what has ended before, while or after it answers; never as its answer.
    for (let at = 0; at < 6; at++) assert.equal((await it.ask(`meanwhile ${at}`)).text, `heard: meanwhile ${at}`)
    const told = (): string =>
      it.events
        .map((event) =>
          event.type === "delta"
            ? event.text
            : event.type === "native"
              ? (/"text":"([^"]*)"/.exec(JSON.stringify(event.message))?.[1] ?? "")
              : "",
        )
        .join("")
    while (!told().includes("a task has ended")) await it.next("native")
    await endsWell(it)
  },

  failures: async (open) => {
    const it = await ready(open)
    const { status, error } = await it.ask("fail 400")
    assert.equal(status, "failed")
    assert.equal(error?.tag, "AgentError")
    assert.match(error!.message, /400/)
    await answers(it, "hello again", "heard: hello again")
    await endsWell(it)
  },

  killed: async (open) => {
    const first = await ready(open)
    await answers(first, "hello", "heard: hello")
    await talking(first)
    await first.stop("SIGKILL")
    const from = { conversation: conversationOf(first), fork: false }
    const second = await ready(open, { from })
    assert.equal(conversationOf(second), from.conversation)
    await answers(second, "recall", /^hello \| .*recall$/)
    await endsWell(second)
  },

  loaded: async (open) => {
    const first = await ready(open)
    await answers(first, "hello", "heard: hello")
    await endsWell(first)
    const second = await ready(open, { from: { conversation: conversationOf(first), fork: false }, loads: true })
    for (const type of ["delta", "thought", "tool", "output"] as const) assert.deepEqual(all(second, type), [])
    await answers(second, "recall", "hello | recall")
    await endsWell(second)
  },

  forked: async (open) => {
    const first = await ready(open)
    await answers(first, "hello", "heard: hello")
    await endsWell(first)
    const from = { conversation: conversationOf(first), fork: true }
    const fork = await ready(open, { from })
    await answers(fork, "only here", "heard: only here")
    assert.notEqual(conversationOf(fork), from.conversation)
    await endsWell(fork)
    const again = await ready(open, { from: { ...from, fork: false } })
    await answers(again, "recall", "hello | recall")
    await endsWell(again)
  },

  unknown: async (open) => {
    const from = { conversation: "11111111-1111-4111-8111-111111111111", fork: false }
    const it = open({ from })
    const { detail } = await it.next("broken")
    assert.match(detail, /session\/load.*-32002/)
    await it.stop()
  },

  "a-model": async (open) => {
    const it = await ready(open, { options: { model: "haiku" } })
    await answers(it, "hello", "heard: hello")
    await endsWell(it)
    const odd = open({ options: { model: "no-such-model" } })
    const { detail } = await odd.next("broken")
    assert.match(detail, /refused that model/)
    await odd.stop()
  },
}
