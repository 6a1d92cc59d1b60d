/**
 * Lets the commits of many sessions share transactions: what arrives within one round of the event loop is written in
 * one transaction right after it. Every commit is answered only after its COMMIT. A transaction is bounded, so that the
 * event loop is never held for long; what is over waits for the next. Knows nothing of tables.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import { isFull, isOfContent, toFailure } from "./SqliteFailure.ts"

/** A write that is ready to be made: nothing in it can fail but SQLite. */
export interface PreparedWrite {
  /** Text to be written, in UTF-16 units. */
  readonly size: number
  readonly write: () => void
}

export interface GroupCommitOptions {
  readonly client: SqliteClient
  /** A transaction failed; whatever was remembered of the tables may be wrong now. */
  readonly onRollback: () => void
  /** After each transaction: how many writes it held, and how much text. */
  readonly onTransaction: (writes: number, size: number) => void
}

interface Waiting extends PreparedWrite {
  readonly resume: (effect: Effect.Effect<void, StoreUnavailable>) => void
}

/** What is in the database already needs no more room in the log: where that helps, the next try gets through. */
const recycleLog = ({ prepare }: SqliteClient): void => {
  try {
    prepare("PRAGMA wal_checkpoint(PASSIVE)").get()
  } catch {
    // As full as before.
  }
}

const maxWrites = 256
const maxSize = 4 * 1024 * 1024

export class GroupCommit {
  readonly #options: GroupCommitOptions
  #waiting: Array<Waiting> = []
  #scheduled = false

  constructor(options: GroupCommitOptions) {
    this.#options = options
  }

  /** Answers when it is durable. Once handed in it is written, whether or not anybody still waits. */
  submit(prepare: () => PreparedWrite): Effect.Effect<void, StoreUnavailable> {
    return Effect.callback((resume) => {
      const { size, write } = prepare()
      this.#waiting.push({ size, write, resume })
      if (!this.#scheduled) {
        this.#scheduled = true
        setImmediate(this.#flush)
      }
    })
  }

  /** Writes all that waits, now. */
  flushAll(): void {
    while (this.#waiting.length > 0) this.#writeGroup()
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    this.#writeGroup()
    if (this.#waiting.length > 0) {
      this.#scheduled = true
      setImmediate(this.#flush)
    }
  }

  #writeGroup(): void {
    const group = this.#takeGroup()
    if (group.length === 0) return
    try {
      this.#transaction(group)
    } catch (error) {
      // One commit's content must not be the others' trouble.
      if (group.length > 1 && isOfContent(error)) return group.forEach((waiting) => this.#writeAlone(waiting))
      const answer = this.#answerTo(error)
      return group.forEach(({ resume }) => resume(answer))
    }
    for (const { resume } of group) resume(Effect.void)
  }

  #writeAlone(waiting: Waiting): void {
    try {
      this.#transaction([waiting])
    } catch (error) {
      return waiting.resume(this.#answerTo(error))
    }
    waiting.resume(Effect.void)
  }

  #transaction(group: ReadonlyArray<Waiting>): void {
    const { client, onRollback, onTransaction } = this.#options
    try {
      client.transaction(() => {
        for (const { write } of group) write()
      })
    } catch (error) {
      onRollback()
      if (isFull(error)) recycleLog(client)
      throw error
    }
    onTransaction(
      group.length,
      group.reduce((sum, { size }) => sum + size, 0),
    )
  }

  #answerTo(error: unknown): Effect.Effect<never, StoreUnavailable> {
    try {
      return Effect.fail(toFailure(this.#options.client.file, error))
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  #takeGroup(): ReadonlyArray<Waiting> {
    let size = 0
    let count = 0
    while (count < this.#waiting.length && count < maxWrites && (count === 0 || size < maxSize)) {
      size += this.#waiting[count++]!.size
    }
    const group = this.#waiting
    this.#waiting = group.slice(count)
    return count === group.length ? group : group.slice(0, count)
  }
}
