/** A thread for the tables that a test has in its hands: it takes a batch and does with it what the test says. */
import { BatchWriter } from "../../src/store/BatchWriter.ts"
import type { RowBatch } from "../../src/store/RowBatch.ts"
import { DatabaseSync } from "../../src/store/Sqlite.ts"
import type { TableThread, TableThreadOptions } from "../../src/store/TableThread.ts"

export const noThread = (): never => {
  throw new Error("no thread")
}

export class HeldThread implements TableThread {
  /** Handed in and not answered. */
  batch: RowBatch | undefined
  batches = 0
  ended = false
  #options: TableThreadOptions | undefined
  #released = false

  readonly start = (options: TableThreadOptions): TableThread => {
    this.#options = options
    return this
  }

  write(batch: RowBatch): void {
    if (this.batch !== undefined) throw new Error("two batches at once")
    if (this.ended) throw new Error("a batch after the end")
    this.batches++
    // As another thread would get it.
    this.batch = structuredClone(batch)
    if (this.#released) setImmediate(this.#work)
  }

  /** It works by itself from now on. */
  release(): void {
    this.#released = true
    if (this.batch !== undefined) setImmediate(this.#work)
  }

  readonly #work = (): void => {
    if (this.batch === undefined) return
    this.apply()
    this.answer()
  }

  hold(): void {}

  async end(): Promise<void> {
    if (this.batch !== undefined) throw new Error("ended with a batch under way")
    this.ended = true
  }

  /** Brings the batch into the tables; says nothing yet. */
  apply(): void {
    const database = new DatabaseSync(this.#options!.file)
    new BatchWriter((sql) => database.prepare(sql)).write(this.batch!)
    database.close()
  }

  answer(error?: Error): void {
    this.batch = undefined
    this.#options!.done(error)
  }

  /** The thread is no more. */
  die(): void {
    this.batch = undefined
    this.ended = true
    this.#options!.lost()
  }
}
