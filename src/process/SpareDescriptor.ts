/** One descriptor held back, so that a runtime with none left can still reach a guard to end a session. */
import { closeSync, openSync } from "node:fs"

export class SpareDescriptor {
  private fd: number | undefined

  constructor() {
    this.hold()
  }

  /** Runs `use`, which must not wait, with one descriptor more than there would be. */
  lend<A>(use: () => A): A {
    this.close()
    try {
      return use()
    } finally {
      this.hold()
    }
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd)
    this.fd = undefined
  }

  private hold(): void {
    try {
      this.fd = openSync("/dev/null", "r")
    } catch {
      // None is left; the next use tries again.
    }
  }
}
