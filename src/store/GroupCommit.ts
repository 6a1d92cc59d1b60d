/**
 * The way of a commit: what arrives within one round of the event loop is written to the log together and answered; what
 * the log holds goes into the database in large transactions, in which the commits of a session have become one. Each
 * step is bounded, so that the event loop is never held for long, and so is what the database may lag behind.
 */
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../domain/Errors.ts"
import type { Commit } from "../domain/SessionStore.ts"
import { CommitBatch } from "./CommitBatch.ts"
import type { CommitLog } from "./CommitLog.ts"
import type { CommitWriter } from "./CommitWriter.ts"
import { toLogText, type PreparedCommit } from "./PreparedCommit.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import { isFull, toFailure } from "./SqliteFailure.ts"

export interface GroupCommitOptions {
  readonly client: SqliteClient
  readonly log: CommitLog
  readonly writer: CommitWriter
  /** After each write to the log: how many commits shared it. */
  readonly onGroup: (commits: number) => void
  /** After each transaction of the database: how many commits it took in, and how much text. */
  readonly onApplied: (commits: number, size: number) => void
}

interface Waiting {
  readonly commit: PreparedCommit
  readonly source: Commit
  readonly text: string
  readonly resume: (effect: Effect.Effect<void, StoreUnavailable>) => void
}

/** One write to the log. */
const maxGroup = 256
const maxGroupSize = 4 * 1024 * 1024
/** What makes a transaction of the database worth while, and how long it waits for that otherwise (ms). */
const batchCommits = 1024
const batchSize = 2 * 1024 * 1024
const batchMs = 200
/** While the database takes nothing, the log may hold so much text, and it is asked again so often (ms). */
const maxBacklog = 16 * 1024 * 1024
const retryMs = 500

export class GroupCommit {
  readonly #options: GroupCommitOptions
  #waiting: Array<Waiting> = []
  #scheduled = false
  #closed = false
  #batch = new CommitBatch()
  #timer: NodeJS.Timeout | undefined
  #failure: { readonly error: unknown; readonly at: number } | undefined

  constructor(options: GroupCommitOptions) {
    this.#options = options
  }

  /** What is acknowledged and not in the database yet. */
  get batch(): CommitBatch {
    return this.#batch
  }

  /** Answers when it is durable. Once handed in it is written, whether or not anybody still waits. */
  submit(source: Commit): Effect.Effect<void, StoreUnavailable> {
    return Effect.callback((resume) => {
      const commit = this.#options.writer.prepare(source)
      this.#waiting.push({ commit, source, text: toLogText(commit), resume })
      if (this.#scheduled) return
      this.#scheduled = true
      setImmediate(this.#flush)
    })
  }

  /** Writes to the log all that waits, now. */
  flushAll(): void {
    while (this.#waiting.length > 0) this.#writeGroup()
  }

  /** Takes into the database all that was acknowledged; throws where it cannot. */
  apply(): void {
    const { client, log, writer, onApplied } = this.#options
    const batch = this.#batch
    if (batch.count === 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    try {
      client.transaction(() => writer.write(batch, log.epoch))
    } catch (error) {
      writer.forgetPlaces()
      if (isFull(error)) recycle(client)
      this.#failure = { error, at: performance.now() }
      this.#arm(retryMs)
      throw error
    }
    this.#failure = undefined
    this.#batch = new CommitBatch()
    log.startOver()
    onApplied(batch.count, batch.size)
  }

  /** What cannot be taken in any more stays in the log for the next time. */
  close(): void {
    this.flushAll()
    let applied = true
    try {
      this.apply()
    } catch {
      applied = false
    }
    clearTimeout(this.#timer)
    this.#options.log.close(applied)
    this.#closed = true
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    this.#writeGroup()
    if (this.#waiting.length > 0) {
      this.#scheduled = true
      setImmediate(this.#flush)
    }
    const { count, size } = this.#batch
    if (count >= batchCommits || size >= batchSize) this.#tryToApply()
    else if (count > 0) this.#arm(batchMs)
  }

  #writeGroup(): void {
    const { log, writer, client, onGroup } = this.#options
    const group = this.#takeGroup()
    if (group.length === 0) return
    try {
      if (this.#closed) throw new StoreUnavailable({ detail: `${client.file} is closed` })
      if (this.#batch.size > maxBacklog) this.#makeRoom()
      log.append(`[${group.map(({ text }) => text).join(",")}]`)
    } catch (error) {
      // What was described in these commits is written nowhere.
      writer.forgetDescriptions()
      const answer = answerTo(client.file, error)
      return group.forEach(({ resume }) => resume(answer))
    }
    for (const { commit, source, text } of group) this.#batch.add(commit, source.session, text.length)
    onGroup(group.length)
    // Last: who is answered goes on at once, and may have the batch taken in.
    for (const { resume } of group) resume(Effect.void)
  }

  /** The log must not grow for ever: now it is the database's failure that counts. */
  #makeRoom(): void {
    if (this.#failure !== undefined && performance.now() - this.#failure.at < retryMs) throw this.#failure.error
    this.apply()
  }

  #arm(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#tryToApply()
    }, ms).unref()
  }

  /** A failure here is nobody's: everything is durable. It is tried again, and told to whoever must read. */
  #tryToApply(): void {
    if (this.#failure !== undefined && performance.now() - this.#failure.at < retryMs) return this.#arm(retryMs)
    try {
      this.apply()
    } catch {
      // Kept in #failure.
    }
  }

  #takeGroup(): ReadonlyArray<Waiting> {
    let size = 0
    let count = 0
    while (count < this.#waiting.length && count < maxGroup && (count === 0 || size < maxGroupSize)) {
      size += this.#waiting[count++]!.text.length
    }
    const group = this.#waiting
    this.#waiting = group.slice(count)
    return count === group.length ? group : group.slice(0, count)
  }
}

const answerTo = (file: string, error: unknown): Effect.Effect<never, StoreUnavailable> => {
  try {
    return Effect.fail(toFailure(file, error))
  } catch (defect) {
    return Effect.die(defect)
  }
}

/** What is in the database already needs no more room in its own log: where that helps, the next try gets through. */
const recycle = ({ prepare }: SqliteClient): void => {
  try {
    prepare("PRAGMA wal_checkpoint(PASSIVE)").get()
  } catch {
    // As full as before.
  }
}
