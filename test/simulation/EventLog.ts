/**
 * What happened, in order: as a number that tells two runs apart, and in words where somebody wants to read them. Two runs
 * of one plan are the same where the numbers are.
 */
export class EventLog {
  /** Undefined: only the number is kept. */
  readonly lines: Array<string> | undefined
  events = 0
  #low = 0x811c9dc5
  #high = 0x1b873593

  constructor(keep: boolean) {
    this.lines = keep ? [] : undefined
  }

  say(at: number, text: string): void {
    this.events++
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

  /** Sixteen hexadecimal digits. */
  get hash(): string {
    const part = (value: number) => (value >>> 0).toString(16).padStart(8, "0")
    return part(this.#low) + part(this.#high)
  }
}
