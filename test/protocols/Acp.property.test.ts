/** Agents that say anything, at any time: what the protocol promises all the same. */
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { ProtocolEvent } from "../../src/protocols/Protocol.ts"
import { ableAgent, acp, session, written } from "./AcpSteps.ts"
import { seed } from "./steps.ts"

const text = fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom("", "end_turn", "cancelled", session, "s-2"))
const some = fc.oneof(text, fc.integer(), fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined))
const sessionUpdate = fc.constantFrom(
  ..."agent_message_chunk agent_thought_chunk user_message_chunk tool_call tool_call_update plan usage_update other".split(
    " ",
  ),
)
const update = fc.record(
  {
    sessionUpdate: fc.oneof({ weight: 9, arbitrary: sessionUpdate }, { weight: 1, arbitrary: some }),
    content: fc.oneof({ weight: 4, arbitrary: fc.record({ type: fc.constant("text"), text }) }, some),
    messageId: fc.constantFrom("m1", "m2", undefined),
    toolCallId: fc.oneof(fc.constantFrom("t1", "t2"), some),
    status: fc.oneof(fc.constantFrom("pending", "completed"), some),
    rawInput: some,
    rawOutput: some,
    title: some,
    name: some,
    cost: fc.oneof(fc.record({ amount: fc.double(), currency: fc.constant("USD") }), some),
    _meta: some,
  },
  { requiredKeys: ["sessionUpdate"] },
)
const result = fc.oneof(
  fc.constant(ableAgent),
  fc.record({ sessionId: fc.constant(session) }),
  fc.record({ stopReason: text, usage: some, _meta: some }, { requiredKeys: ["stopReason"] }),
  some,
)
const id = fc.oneof(fc.nat(8), fc.constantFrom("1", "a"), some)
const message = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      method: fc.constant("session/update"),
      params: fc.record({ sessionId: fc.constantFrom(session, session, session, "s-2"), update }),
    }),
  },
  fc.record({ id, result }),
  fc.record({ id, error: fc.oneof(fc.record({ code: fc.constantFrom(-32000, -32002, 7), message: text }), some) }),
  fc.record({
    id,
    method: fc.constant("session/request_permission"),
    params: fc.oneof(fc.record({ sessionId: text, toolCall: some, options: fc.array(some, { maxLength: 3 }) }), some),
  }),
  fc.record({ method: fc.constant("$/cancel_request"), params: fc.record({ requestId: id }) }),
  fc.record({ id, method: text, params: some }, { requiredKeys: ["method"] }),
  some,
)
const line = fc.oneof(
  { weight: 9, arbitrary: message.map((value) => JSON.stringify(value) ?? "") },
  { weight: 1, arbitrary: fc.oneof(fc.string(), fc.constantFrom("", "{", "[]", "null", "\u2028", '{"id":1e999}')) },
)
type Move =
  | { readonly do: "lines"; readonly lines: ReadonlyArray<string> }
  | { readonly do: "right" | "prompt" | "cancel" | "authenticate" | "wait" | "eof" }
  | { readonly do: "answer"; readonly request: string; readonly option: string }
const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("lines" as const), lines: fc.array(line, { maxLength: 6 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("right", "right", "prompt", "prompt", "cancel", "authenticate", "wait", "eof"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("answer" as const), request: fc.oneof(id.map(String)), option: text }),
  },
)

/** The right answer to whatever it asked last. */
const rightAnswer = (method: string | undefined): unknown =>
  method === "initialize"
    ? { ...ableAgent, authMethods: [{ id: "login", name: "Log in" }] }
    : method === "session/prompt"
      ? { stopReason: "end_turn" }
      : { sessionId: session }

describe("acp, whatever the agent says", () => {
  it("writes whole messages, ends each turn once, answers each request once, and forgets nothing that was said", () => {
    const from = fc.constantFrom(null, { conversation: session, fork: false }, { conversation: session, fork: true })
    fc.assert(
      fc.property(from, fc.boolean(), fc.array(move, { maxLength: 40 }), (start, isReady, moves) => {
        const agent = acp()
        let last: string | undefined
        let ready = 0
        let broken = 0
        let running = false
        let deltas = ""
        const answered = new Map<string, number>()
        const asked = new Map<string, number>()
        const open = new Set<string>()
        const take = (events: ReadonlyArray<ProtocolEvent>) => {
          for (const event of events) {
            switch (event.type) {
              case "write": {
                expect(event.data.indexOf("\n")).toBe(event.data.length - 1)
                const [sent] = written([event])
                expect(sent?.jsonrpc).toBe("2.0")
                if (sent?.method !== undefined && sent.id !== undefined) last = sent.method
                if (sent?.method === undefined) {
                  const key = JSON.stringify(sent?.id)
                  answered.set(key, (answered.get(key) ?? 0) + 1)
                }
                break
              }
              case "ready":
                ready += 1
                break
              case "broken":
                broken += 1
                break
              case "delta":
                expect(running).toBe(true)
                deltas += event.text
                break
              case "thought":
              case "tool":
                expect(running).toBe(true)
                break
              case "permission":
                expect(open.has(event.request)).toBe(false)
                open.add(event.request)
                break
              case "permissionWithdrawn":
                expect(open.delete(event.request)).toBe(true)
                break
              case "ended":
                expect(running).toBe(true)
                expect(event.text).toBe(deltas)
                expect(open.size === 0 || ready === 0).toBe(true)
                for (const value of Object.values(event.usage ?? {})) expect(Number.isFinite(value)).toBe(true)
                running = false
                break
            }
          }
        }
        take(agent.start(start))
        const right: Move = { do: "right" }
        for (const each of isReady ? [right, right, ...moves] : moves) {
          switch (each.do) {
            case "lines":
              for (const said of each.lines) {
                try {
                  const { id: theirs, method } = (JSON.parse(said) ?? {}) as { id?: unknown; method?: unknown }
                  if (typeof method === "string" && (typeof theirs === "string" || typeof theirs === "number")) {
                    const key = JSON.stringify(theirs)
                    asked.set(key, (asked.get(key) ?? 0) + 1)
                  }
                } catch {
                  // No JSON.
                }
                const events = agent.lines(said)
                take(events)
                // Something is made of every line but the past, and what says nothing.
                if (events.length === 0) expect(said).toMatch(/"session\/update"|"result"|"error"/)
              }
              break
            case "right":
              take(agent.answers(rightAnswer(last)))
              break
            case "prompt":
              if (ready === 0 || broken > 0 || running) break
              running = true
              deltas = ""
              take(agent.prompt())
              break
            case "cancel":
              if (running) open.clear()
              take(agent.cancel())
              break
            case "answer":
              open.delete(each.request)
              take(agent.answer(each.request, each.option))
              break
            case "authenticate":
              take(agent.authenticate())
              break
            case "wait":
              take(agent.advance(1_000))
              break
            case "eof":
              take(agent.eof())
              break
          }
          expect(ready).toBeLessThanOrEqual(1)
          expect(broken).toBeLessThanOrEqual(1)
          expect(ready + broken).toBeLessThanOrEqual(1)
        }
        for (const [key, count] of answered) expect(count, key).toBeLessThanOrEqual(asked.get(key) ?? 0)
      }),
      { seed, numRuns: 2_000 },
    )
  })

  it("gives the same answer however its lines come together", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: "binary", minLength: 1 }), { maxLength: 20 }),
        fc.nat(20),
        (pieces, at) => {
          const lines = pieces.map((piece) =>
            JSON.stringify({
              jsonrpc: "2.0",
              method: "session/update",
              params: {
                sessionId: session,
                update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: piece } },
              },
            }),
          )
          const all = [...lines, JSON.stringify({ jsonrpc: "2.0", id: 3, result: { stopReason: "end_turn" } })]
          const agent = acp()
          agent.start()
          agent.answers(ableAgent)
          agent.answers({ sessionId: session })
          agent.prompt()
          const events = [...agent.lines(...all.slice(0, at)), ...agent.lines(...all.slice(at))]
          expect(events.flatMap((event) => (event.type === "delta" ? [event.text] : []))).toEqual(pieces)
          expect(events.at(-1)).toMatchObject({ type: "ended", text: pieces.join("") })
        },
      ),
      { seed },
    )
  })
})
