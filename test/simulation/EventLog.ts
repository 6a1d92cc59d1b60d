/**
 * What happened, in order: as a number that tells two runs apart, and in words where somebody wants to read them. Two runs
 * of one plan are the same where the numbers are.
 */
/** What is kept: the words and the number, the number alone, or neither, which is quickest. */
export type Detail = "words" | "number" | "nothing"

export class EventLog {
  /** Undefined: nobody wants to read it. */
  readonly lines: Array<string> | undefined
  readonly #detail: Detail
  events = 0
  #low = 0x811c9dc5
  #high = 0x1b873593

  constructor(detail: Detail) {
    this.#detail = detail
    this.lines = detail === "words" ? [] : undefined
  }

  /** Whether it is worth finding words. */
  get listens(): boolean {
    return this.#detail !== "nothing"
  }

  say(at: number, text: string): void {
    this.events++
    if (this.#detail === "nothing") return
    let low = this.#low ^ at
    let high = this.#high
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      low = Math.imul(low ^ code, 0x01000193)
      high = Math.imul(high + code, 0x85ebca6b) ^ (high >>> 15)
    }
    this.#low = low
    this.#high = high
    this.lines?.push(`${at.toString().padStart(7)}  ${text}`)
  }

  /** Sixteen hexadecimal digits; always the same where nothing is kept. */
  get hash(): string {
    const part = (value: number) => (value >>> 0).toString(16).padStart(8, "0")
    return part(this.#low) + part(this.#high)
  }
}
