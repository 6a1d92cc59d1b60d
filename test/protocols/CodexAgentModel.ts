/**
 * A Codex as a value that answers as the real one does, at any pace: turns of ours and of its own, messages, approvals,
 * overload, refused interrupts. It fails the test where it is told what a client must never tell it. For property tests.
 */
import { expect } from "vitest"
import { thread, type Message } from "./CodexSteps.ts"

interface Turn {
  readonly id: string
  readonly isOwn: boolean
  hasBegun: boolean
  /** Whether the client was handed its `turn/started`. */
  isKnown: boolean
  messages: number
  lastText: string
}

interface Line {
  readonly message: Message
  readonly onHanded?: () => void
}

export class CodexAgentModel {
  /** Said, and not handed to the client yet. */
  readonly unread: Array<Line> = []
  /** Turns that ended for the client, by the text of their last message. */
  readonly ended = new Map<string, string>()
  readonly prompts: Array<string> = []
  private readonly asked = new Set<number>()
  /** Settled by itself; an answer may be on its way. */
  private readonly settled = new Set<number>()
  private active: Turn | undefined
  private counter = 0
  private requests = 0
  private total = 0

  get isIdle(): boolean {
    return this.active === undefined && this.unread.length === 0
  }

  private say(message: Message, onHanded?: () => void): void {
    this.unread.push(onHanded === undefined ? { message } : { message, onHanded })
  }

  private notice(method: string, params: Message, onHanded?: () => void): void {
    this.say({ method, params: { threadId: thread, ...params } }, onHanded)
  }

  /** `isOverloaded`: it takes nothing now. */
  hears(line: string, isOverloaded: boolean): void {
    const { id, method, params, result } = JSON.parse(line) as {
      readonly id?: number
      readonly method?: string
      readonly params?: { readonly turnId?: string; readonly input?: ReadonlyArray<{ readonly text: string }> }
      readonly result?: unknown
    }
    if (method === undefined) {
      expect(result).toHaveProperty("decision")
      if (this.settled.delete(id!)) return
      expect(this.asked.delete(id!), `an answer to ${id}, which is not open`).toBe(true)
      this.notice("serverRequest/resolved", { requestId: id })
      return
    }
    if (id === undefined) return
    const refuse = (code: number, message: string) => this.say({ id, error: { code, message } })
    if (isOverloaded) return refuse(-32001, "Server overloaded; retry later.")
    switch (method) {
      case "initialize":
        return this.say({ id, result: {} })
      case "account/read":
        return this.say({ id, result: { account: null, requiresOpenaiAuth: false } })
      case "thread/start":
        return this.say({ id, result: { thread: { id: thread } } })
      case "turn/start": {
        const { active } = this
        expect(active?.isKnown === true, "it was told of a turn, and steers it").toBe(false)
        this.prompts.push(params?.input?.[0]?.text ?? "")
        const turn = active ?? this.makeTurn(false)
        this.active = turn
        return this.say({ id, result: { turn: { id: turn.id } } })
      }
      case "turn/interrupt": {
        if (this.active?.hasBegun !== true || this.active.id !== params?.turnId) {
          return refuse(-32600, "no active turn to interrupt")
        }
        this.say({ id, result: {} })
        return this.complete("interrupted")
      }
      default:
        expect.fail(`it was told ${method}`)
    }
  }

  private makeTurn(isOwn: boolean): Turn {
    const id = `turn-${++this.counter}`
    return { id, isOwn, hasBegun: false, isKnown: false, messages: 0, lastText: "" }
  }

  private complete(status: string): void {
    const { active } = this
    if (active === undefined) return
    this.active = undefined
    for (const request of this.asked) {
      this.settled.add(request)
      this.notice("serverRequest/resolved", { requestId: request })
    }
    this.asked.clear()
    this.ended.set(active.id, active.lastText)
    const error = status === "failed" ? { message: "as told" } : null
    this.notice("turn/completed", { turn: { id: active.id, status, error } })
  }

  /** One thing that it does next, by a number. */
  acts(choice: number): void {
    const turn = this.active
    if (turn === undefined) {
      // A goal of its own.
      if (choice === 0) this.active = this.makeTurn(true)
      return
    }
    if (!turn.hasBegun) {
      turn.hasBegun = true
      this.notice("turn/started", { turn: { id: turn.id } }, () => (turn.isKnown = true))
      return
    }
    const about = { turnId: turn.id }
    switch (choice) {
      case 0:
        return this.complete("completed")
      case 1:
        return this.complete("failed")
      case 2:
      case 3: {
        const itemId = `m-${turn.id}-${++turn.messages}`
        turn.lastText = `text ${this.counter}.${turn.messages}`
        this.notice("item/started", { ...about, item: { type: "agentMessage", id: itemId, text: "" } })
        if (choice === 2) this.notice("item/agentMessage/delta", { ...about, itemId, delta: turn.lastText.slice(0, 3) })
        this.notice("item/completed", { ...about, item: { type: "agentMessage", id: itemId, text: turn.lastText } })
        return
      }
      case 4: {
        const id = this.requests++
        this.asked.add(id)
        const params = { threadId: thread, ...about, itemId: `i-${id}`, command: "x" }
        return this.say({ id, method: "item/commandExecution/requestApproval", params })
      }
      case 5: {
        const count = (n: number) => ({ inputTokens: n, outputTokens: n })
        this.total += 2
        return this.notice("thread/tokenUsage/updated", {
          ...about,
          tokenUsage: { total: count(this.total), last: count(2) },
        })
      }
      case 6:
        return this.notice("item/started", { ...about, item: { type: "commandExecution", id: "c", command: "ls" } })
      default:
        return this.say({ method: "item/agentMessage/delta", params: { threadId: "a-subagent", delta: "x" } })
    }
  }
}
