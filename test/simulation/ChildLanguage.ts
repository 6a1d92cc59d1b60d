/**
 * What a simulated process says on its stdout: the other end of `lines`, `ndjson` and `claude`, as far as they are needed.
 * The answer to the prompt P is `re:P`. It does what its life says with each prompt, and never more than one at a time.
 */
import { calmTurn, type Life, type TurnPlan } from "./Plan.ts"

/** The process that speaks. */
export interface Speaker {
  readonly life: Life
  /** To stdout, `ms` from now, in so many pieces. */
  say(text: string, ms: number, pieces: number): void
  /** Not if it has ended by then. */
  later(ms: number, act: () => void): void
  end(turn: TurnPlan): void
  closeStdout(): void
}

export interface Language {
  /** The process is up. */
  up(): void
  /** A line on stdin. */
  heard(line: string): void
  /** A line that belongs to no answer, where the protocol bears one. */
  stray(): void
}

export const neverHeard = "x".repeat(3_000)

abstract class Turns implements Language {
  protected readonly speaker: Speaker
  #prompts = 0
  /** The prompt that it works on; 0: none. */
  protected current = 0
  /** It hears nothing any more. */
  protected hangs = false

  constructor(speaker: Speaker) {
    this.speaker = speaker
  }

  abstract up(): void
  abstract heard(line: string): void
  abstract stray(): void
  /** The lines of an answer. */
  protected abstract answer(prompt: string): string
  protected abstract garbage(): string
  /** Asks for leave and goes on with the prompt once it is given; false: the protocol knows no such thing. */
  protected ask(_prompt: string, _ms: number): boolean {
    return false
  }

  protected prompted(prompt: string): void {
    const { speaker } = this
    const turn = speaker.life.turns[this.#prompts++] ?? calmTurn
    const current = (this.current = this.#prompts)
    const answer = (ms: number) => {
      speaker.later(ms, () => {
        // Interrupted meanwhile.
        if (this.current !== current) return
        this.current = 0
        speaker.say(this.answer(prompt), 0, turn.pieces)
      })
    }
    this.hangs = turn.does === "hangs"
    switch (turn.does) {
      case "answers":
        return answer(turn.afterMs)
      case "hangs":
        return
      case "ends":
        return speaker.later(turn.afterMs, () => speaker.end(turn))
      case "asks":
        return this.ask(prompt, turn.afterMs) ? undefined : answer(turn.afterMs)
      case "babbles":
        return speaker.later(turn.afterMs, () => speaker.say(this.garbage(), 0, turn.pieces))
      case "overflows":
        return speaker.later(turn.afterMs, () => speaker.say(`${neverHeard}\n`, 0, turn.pieces))
      case "closesStdout":
        return speaker.later(turn.afterMs, () => speaker.closeStdout())
    }
  }
}

class Lines extends Turns {
  up(): void {}
  heard(line: string): void {
    this.prompted(line)
  }
  stray(): void {}
  protected answer(prompt: string): string {
    return `re:${prompt}\n`
  }
  protected garbage(): string {
    return ""
  }
}

/** What the spec of such a session says of its conversation. */
export const conversationSpec = { field: "sid", resume: ["--resume", "{id}"], fork: ["--fork", "{id}"] } as const

class Ndjson extends Turns {
  readonly #conversation: string

  constructor(speaker: Speaker, args: ReadonlyArray<string>, fresh: string) {
    super(speaker)
    this.#conversation = args[0] === "--resume" ? args[1]! : fresh
  }

  up(): void {}
  heard(line: string): void {
    this.prompted((JSON.parse(line) as { readonly prompt: string }).prompt)
  }
  stray(): void {
    this.speaker.say("no json\n", 0, 1)
  }
  protected answer(prompt: string): string {
    const text = `re:${prompt}`
    const deltas = [text.slice(0, 2), text.slice(2)].map((delta) => JSON.stringify({ delta }))
    return (
      [...deltas, JSON.stringify({ done: true, text, sid: this.#conversation, usage: { tokens: 1 } })].join("\n") + "\n"
    )
  }
  protected garbage(): string {
    return '{"half":\n'
  }
}

class Claude extends Turns {
  readonly #conversation: string
  #asked: { readonly id: string; readonly prompt: string } | undefined
  #requests = 0

  constructor(speaker: Speaker, args: ReadonlyArray<string>, fresh: string) {
    super(speaker)
    const given = (flag: string) => args.find((arg) => arg.startsWith(`${flag}=`))?.slice(flag.length + 1)
    this.#conversation = given("--session-id") ?? given("--resume") ?? fresh
  }

  up(): void {}

  heard(line: string): void {
    const message = JSON.parse(line) as {
      readonly type: string
      readonly request_id?: string
      readonly request?: { readonly subtype: string }
      readonly response?: { readonly request_id: string }
      readonly message?: { readonly content: ReadonlyArray<{ readonly text: string }> }
    }
    if (message.type === "user") return this.prompted(message.message!.content[0]!.text)
    if (message.type === "control_response") {
      const asked = this.#asked
      if (asked === undefined || asked.id !== message.response!.request_id) return
      this.#asked = undefined
      const { current } = this
      return this.speaker.later(1, () => {
        if (this.current !== current) return
        this.current = 0
        this.speaker.say(this.answer(asked.prompt), 0, 1)
      })
    }
    if (message.type !== "control_request") return
    if (message.request!.subtype === "initialize") return this.#initialize(message.request_id!)
    // Asked to interrupt, it gives the turn up unless it hangs.
    if (this.hangs) return
    this.#send({ type: "control_response", response: { subtype: "success", request_id: message.request_id } })
    if (this.current === 0) return
    this.current = 0
    if (this.#asked !== undefined) this.#send({ type: "control_cancel_request", request_id: this.#asked.id })
    this.#asked = undefined
    this.#send({ type: "result", subtype: "error_during_execution", terminal_reason: "aborted_streaming" })
  }

  #initialize(id: string): void {
    const { life } = this.speaker
    if (life.ready === "hangs") return
    const response =
      life.ready === "refuses"
        ? { subtype: "error", request_id: id, error: "no" }
        : { subtype: "success", request_id: id, response: {} }
    this.speaker.later(life.readyMs, () => this.#send({ type: "control_response", response }))
  }

  stray(): void {
    this.#send({ type: "rate_limit_event" })
  }

  protected answer(prompt: string): string {
    const content = [{ type: "text", text: `re:${prompt}` }]
    return this.#lines(
      { type: "system", subtype: "init", session_id: this.#conversation },
      { type: "assistant", message: { role: "assistant", content } },
      { type: "result", subtype: "success", is_error: false, stop_reason: "end_turn" },
    )
  }

  protected garbage(): string {
    return "no json\n"
  }

  protected override ask(prompt: string, ms: number): boolean {
    const id = `p${++this.#requests}`
    const { current } = this
    this.speaker.later(ms, () => {
      if (this.current !== current) return
      this.#asked = { id, prompt }
      this.#send({
        type: "control_request",
        request_id: id,
        request: { subtype: "can_use_tool", tool_name: "Bash", input: {} },
      })
    })
    return true
  }

  #lines(...messages: ReadonlyArray<object>): string {
    return messages.map((message) => `${JSON.stringify(message)}\n`).join("")
  }

  #send(message: object): void {
    this.speaker.say(this.#lines(message), 0, 1)
  }
}

/** By the command's name. `fresh`: an id for a conversation of its own. */
export const languageOf = (command: string, args: ReadonlyArray<string>, fresh: string, speaker: Speaker): Language => {
  switch (command) {
    case "claude":
      return new Claude(speaker, args, fresh)
    case "ndjson":
      return new Ndjson(speaker, args, fresh)
    default:
      return new Lines(speaker)
  }
}
