/** Lines of a child that are no message of its protocol: gathered into one `output` event, in their place among the others. */
import type { ProtocolEvent } from "./Protocol.ts"

export class StrayLines {
  readonly #events: Array<ProtocolEvent>
  #lines: Array<string> = []

  /** `events`: where they belong. */
  constructor(events: Array<ProtocolEvent>) {
    this.#events = events
  }

  add(line: string): void {
    this.#lines.push(line)
  }

  /** Before every other event, and at the end. */
  flush(): void {
    if (this.#lines.length === 0) return
    this.#events.push({ type: "output", data: this.#lines.join("\n") + "\n" })
    this.#lines = []
  }
}
