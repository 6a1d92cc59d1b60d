/** What holds for any Codex at any pace, and for one that says anything at all. */
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { ProtocolEvent } from "../../src/protocols/Protocol.ts"
import { CodexAgentModel } from "./CodexAgentModel.ts"
import { begun, codex, completed, delta, done, inTurn, notice, of, running, thread, tokens } from "./CodexSteps.ts"
import { seed } from "./steps.ts"

type Move =
  | { readonly do: "read"; readonly lines: number }
  | { readonly do: "act"; readonly choice: number }
  | { readonly do: "prompt" | "cancel" }
  | { readonly do: "answer"; readonly which: number; readonly option: number }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "overload"; readonly times: number }

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 5, arbitrary: fc.nat(4).map((lines): Move => ({ do: "read", lines: lines + 1 })) },
  { weight: 5, arbitrary: fc.nat(8).map((choice): Move => ({ do: "act", choice })) },
  { weight: 3, arbitrary: fc.constantFrom<Move>({ do: "prompt" }, { do: "prompt" }, { do: "cancel" }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("answer" as const), which: fc.nat(3), option: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.constantFrom(10, 100, 5_000).map((ms): Move => ({ do: "wait", ms })) },
  { weight: 1, arbitrary: fc.nat(2).map((times): Move => ({ do: "overload", times: times + 1 })) },
)

const options = ["accept", "acceptForSession", "decline", "cancel", "nonsense"]

/** A session with the model; keeps the promises as it goes. */
class Session {
  readonly agent = new CodexAgentModel()
  readonly it = codex()
  overloads = 0
  prompts = 0
  ends: Array<Extract<ProtocolEvent, { readonly type: "ended" }>> = []
  isReady = false
  isRunning = false
  readonly open = new Set<string>()
  readonly everOpen = new Set<string>()

  take(events: ReadonlyArray<ProtocolEvent>): void {
    for (const event of events) {
      switch (event.type) {
        case "write":
          for (const line of event.data.trimEnd().split("\n")) {
            const isRequest = line.includes('"id"') && line.includes('"method"')
            this.agent.hears(line, isRequest && this.overloads > 0 && this.overloads-- > 0)
          }
          break
        case "ready":
          expect(this.isReady).toBe(false)
          this.isReady = true
          break
        case "ended":
          expect(this.isRunning, "a turn ended that did not run").toBe(true)
          this.isRunning = false
          this.ends.push(event)
          break
        case "delta":
          expect(this.isRunning, "a delta outside of a turn").toBe(true)
          break
        case "permission":
          expect(this.everOpen.has(event.request), "a request's id came twice").toBe(false)
          this.open.add(event.request)
          this.everOpen.add(event.request)
          break
        case "permissionWithdrawn":
          expect(this.open.delete(event.request), "withdrawn, but not open").toBe(true)
          break
        case "broken":
          expect.fail(event.detail)
          break
        default:
          break
      }
    }
  }

  read(lines: number): void {
    const some = this.agent.unread.splice(0, lines)
    for (const { onHanded } of some) onHanded?.()
    this.take(this.it.says(...some.map(({ message }) => message)))
  }

  moves(move: Move): void {
    switch (move.do) {
      case "read":
        return this.read(move.lines)
      case "act":
        return this.agent.acts(move.choice)
      case "prompt":
        if (!this.isReady || this.isRunning) return
        this.isRunning = true
        return this.take(this.it.prompt(`prompt ${++this.prompts}`))
      case "cancel":
        if (!this.isRunning) return
        return this.take(this.it.cancel())
      case "answer": {
        const request = [...this.everOpen][move.which]
        const option = options[move.option]!
        if (request === undefined) return
        const events = this.it.answer(request, option)
        const isAnswer = this.open.has(request) && option !== "nonsense"
        // Nothing is answered twice, nor after it was withdrawn.
        expect(events).toHaveLength(isAnswer ? 1 : 0)
        if (isAnswer) this.open.delete(request)
        return this.take(events)
      }
      case "wait":
        return this.take(this.it.advance(move.ms))
      case "overload":
        this.overloads = move.times
    }
  }

  /** Everything comes to its end: nobody overloads it any more, and it acts until it has nothing to do. */
  settle(): void {
    this.overloads = 0
    for (let round = 0; round < 200 && (this.isRunning || !this.isReady || !this.agent.isIdle); round++) {
      this.read(1_000)
      // First it begins what did not begin, then it completes.
      if (!this.agent.isIdle || this.isRunning) this.agent.acts(round % 2 === 0 ? 7 : 0)
      this.read(1_000)
      this.take(this.it.advance(5_000))
    }
  }
}

describe("a session with Codex, whatever it does in whichever order", () => {
  it("ends each turn exactly once, steers none, and answers each request at most once", () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
        const session = new Session()
        session.take(session.it.start())
        for (const one of moves) session.moves(one)
        session.settle()
        expect(session.isReady).toBe(true)
        expect(session.isRunning).toBe(false)
        expect(session.ends).toHaveLength(session.prompts)
        // Each prompt reached the agent once, in order, but for those that were cancelled before they were asked.
        const told = session.agent.prompts
        expect(told).toEqual([...new Set(told)].toSorted((a, b) => Number(a.slice(7)) - Number(b.slice(7))))
        const unasked = session.prompts - told.length
        expect(session.ends.filter(({ status }) => status === "cancelled").length).toBeGreaterThanOrEqual(unasked)
      }),
      { seed, numRuns: 500 },
    )
  })

  it("answers a turn that nobody disturbs with its last message", () => {
    const quiet = fc.array(fc.constantFrom(2, 3, 5, 6, 7), { maxLength: 12 })
    fc.assert(
      fc.property(quiet, fc.array(fc.nat(3)), (choices, sizes) => {
        const session = new Session()
        session.take(session.it.start())
        session.settle()
        session.moves({ do: "prompt" })
        for (const choice of [7, ...choices, 0]) session.agent.acts(choice)
        for (const size of sizes) session.read(size)
        session.settle()
        expect(session.ends).toMatchObject([{ status: "completed", text: session.agent.ended.get("turn-1") }])
      }),
      { seed, numRuns: 200 },
    )
  })
})

describe("a Codex that says anything", () => {
  const some = fc.oneof(fc.string({ maxLength: 6 }), fc.integer(), fc.jsonValue({ maxDepth: 2 }))
  const methods = [
    ..."item/started item/completed item/agentMessage/delta item/reasoning/textDelta turn/started turn/completed".split(
      " ",
    ),
    ..."item/commandExecution/outputDelta item/reasoning/summaryPartAdded thread/tokenUsage/updated thread/closed".split(
      " ",
    ),
    ..."serverRequest/resolved thread/status/changed thread/started error".split(" "),
    ..."item/commandExecution/requestApproval item/fileChange/requestApproval item/permissions/requestApproval".split(
      " ",
    ),
    ..."mcpServer/elicitation/request item/tool/requestUserInput item/tool/call".split(" "),
  ]
  const item = fc.record(
    {
      type: fc.constantFrom("agentMessage", "reasoning", "commandExecution", "fileChange", "mcpToolCall", "webSearch"),
      id: fc.oneof(fc.constantFrom("a", "b"), some),
      text: some,
      summary: fc.oneof(fc.array(some), some),
      command: some,
      status: some,
      changes: some,
      arguments: some,
      result: some,
    },
    { requiredKeys: [] },
  )
  const params = fc.record(
    {
      threadId: fc.constantFrom(thread, thread, thread, "other"),
      turnId: fc.constantFrom("turn-1", "turn-2"),
      itemId: fc.oneof(fc.constantFrom("a", "b"), some),
      turn: fc.oneof(fc.record({ id: fc.constantFrom("turn-1", "turn-2"), status: some, error: some }), some),
      item: fc.oneof({ weight: 4, arbitrary: item }, some),
      delta: fc.oneof(fc.string(), some),
      tokenUsage: some,
      status: some,
      requestId: some,
      command: some,
      questions: some,
      permissions: some,
      proposedExecpolicyAmendment: some,
      proposedNetworkPolicyAmendments: fc.oneof(fc.array(some), some),
    },
    { requiredKeys: [] },
  )
  const id = fc.oneof(fc.nat(6), fc.string({ maxLength: 3 }), some)
  const message = fc.oneof(
    { weight: 6, arbitrary: fc.record({ method: fc.constantFrom(...methods), params }) },
    { weight: 3, arbitrary: fc.record({ id, method: fc.constantFrom(...methods), params: fc.oneof(params, some) }) },
    fc.record({ id, result: fc.oneof(params, some) }),
    fc.record({ id, error: fc.oneof(fc.record({ code: fc.constantFrom(-32001, -32600), message: some }), some) }),
    some,
  )
  const line = fc.oneof(
    { weight: 9, arbitrary: message.map((value) => JSON.stringify(value)) },
    fc.oneof(fc.string(), fc.constantFrom("", "{", "[]", "null", '{"id":1e999}', '{"method":"\u2028"}')),
  )

  it("never throws a step, and ends no turn twice", () => {
    fc.assert(
      fc.property(fc.array(fc.array(line, { maxLength: 4 }), { maxLength: 20 }), fc.boolean(), (batches, opens) => {
        const it = opens ? codex() : running()
        if (opens) it.start()
        let isRunning = !opens
        let isReady = !opens
        const take = (events: ReadonlyArray<ProtocolEvent>) => {
          for (const event of events) {
            if (event.type === "ready") isReady = true
            if (event.type === "write") {
              for (const text of event.data.trimEnd().split("\n")) JSON.parse(text)
            }
            if (event.type === "tool") expect(typeof event.name).toBe("string")
            if (event.type === "delta" || event.type === "thought") expect(typeof event.text).toBe("string")
            if (event.type === "permission") take(it.answer(event.request, event.options[0]!.id, "said"))
            if (event.type !== "ended") continue
            expect(isRunning).toBe(true)
            expect(typeof event.text).toBe("string")
            isRunning = false
          }
        }
        for (const batch of batches) {
          take(it.says(...batch))
          take(it.advance(7_000))
          if (isReady && !isRunning) {
            isRunning = true
            take(it.prompt("x"))
          } else if (isRunning && batch.length === 3) take(it.cancel())
        }
        take(it.eof())
      }),
      { seed, numRuns: 1_000 },
    )
  })

  it("says the same however its lines are batched", () => {
    const known = fc.oneof(
      fc
        .constantFrom(
          ...[delta("a"), delta("b", "m2"), tokens(2, 1), done({ type: "agentMessage", id: "m1", text: "ab" })],
          ...[begun({ type: "commandExecution", id: "c", command: "ls", status: "inProgress" }), completed()],
          ...[inTurn("item/reasoning/textDelta", { itemId: "r", delta: "t" }), completed({}, "turn-2")],
          ...[notice("turn/started", { turn: { id: "turn-2" } }), { id: 4, method: "item/fileChange/requestApproval" }],
        )
        .map((value) => JSON.stringify(value)),
      line,
    )
    fc.assert(
      fc.property(fc.array(known, { maxLength: 20 }), fc.array(fc.nat(5)), (lines, sizes) => {
        const whole = running().says(...lines)
        const it = running()
        const parts: Array<ProtocolEvent> = []
        let from = 0
        for (const size of [...sizes, lines.length]) {
          parts.push(...it.says(...lines.slice(from, from + size)))
          from += size
        }
        expect(parts).toEqual(whole)
        expect(of(whole, "ended").length).toBeLessThanOrEqual(1)
      }),
      { seed, numRuns: 300 },
    )
  })
})
