/**
 * The way of a commit: what arrives within one round of the event loop is written to the log together and answered; what
 * the log holds goes into the tables in large batches, in which the commits of a session have become one, written by a
 * thread of its own. What the tables may lag behind is bounded.
 */
import * as Effect from "effect/Effect"
import { StoreUnavailable } from "../domain/Errors.ts"
import type { SessionId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { Commit } from "../domain/SessionStore.ts"
import { BatchWriter } from "./BatchWriter.ts"
import { CommitBatch } from "./CommitBatch.ts"
import { CommitEncoder } from "./CommitEncoder.ts"
import type { CommitLog } from "./CommitLog.ts"
import { toLogText, type PreparedCommit } from "./PreparedCommit.ts"
import type { SqliteClient } from "./SqliteClient.ts"
import { toFailure } from "./SqliteFailure.ts"
import type { TableThread, TableThreadOptions } from "./TableThread.ts"

export interface GroupCommitOptions {
  readonly client: SqliteClient
  readonly log: CommitLog
  /** Throws where there is none to be had: then the tables are written in this one. */
  readonly startThread: (options: TableThreadOptions) => TableThread
  /** After each write to the log: how many commits shared it, and how long the first of them waited for it (ms). */
  readonly onGroup: (commits: number, waitedMs: number) => void
  /** After each batch that the tables took in: how many commits it had, and how much text. */
  readonly onApplied: (commits: number, size: number) => void
}

type Answer = Effect.Effect<void, StoreUnavailable>

interface Waiting {
  readonly commit: PreparedCommit
  readonly session: Session
  readonly text: string
  readonly resume: (answer: Answer) => void
}

/** Somebody who needs the tables to hold all through this epoch. */
interface Reader {
  readonly epoch: number
  readonly resume: (answer: Answer) => void
}

/** A batch that the log does not need to be written into any more. */
interface Sent {
  readonly batch: CommitBatch
  readonly epoch: number
}

/** One write to the log. */
const maxGroup = 256
const maxGroupSize = 4 * 1024 * 1024
/** What makes a batch worth while, and how long it waits for that otherwise (ms). */
const batchCommits = 1024
const batchSize = 2 * 1024 * 1024
const batchMs = 200
/** While the tables take nothing, the log may hold so much text, and they are tried again so often (ms). */
const maxBacklog = 16 * 1024 * 1024
/**
 * One session's share of that: one that floods waits for the tables alone, and the others' commits go past it. What is on its way
 * is young to the collector, which copies it at every look: with a megabyte of it the others waited for 10 ms now and then.
 */
const maxShare = 512 * 1024
const retryMs = 500

export class GroupCommit {
  readonly #options: GroupCommitOptions
  readonly #encoder = new CommitEncoder()
  #waiting: Array<Waiting> = []
  #scheduled = false
  /** Since when the oldest of those that wait does so. */
  #since: number | undefined
  #closed = false
  #batch = new CommitBatch()
  #sent: Sent | undefined
  #forgotten: Array<SessionId> = []
  #readers: Array<Reader> = []
  #timer: NodeJS.Timeout | undefined
  #failure: { readonly error: unknown; readonly at: number } | undefined
  /** undefined: not started yet; null: there is none to be had. */
  #thread: TableThread | undefined | null
  /** Of this thread, where the other one is not. */
  #writer: BatchWriter | undefined
  /** Called when the batch that is with the thread is done. */
  #onDone: (() => void) | undefined

  constructor(options: GroupCommitOptions) {
    this.#options = options
  }

  /** What is acknowledged and not in the tables yet. */
  get batch(): CommitBatch {
    return this.#batch
  }

  /** Answers when it is durable. Once handed in it is written, whether or not anybody still waits. */
  submit(source: Commit): Effect.Effect<void, StoreUnavailable> {
    return Effect.callback((resume) => {
      const { session } = source
      const commit = this.#encoder.encode(source, session)
      this.#waiting.push({ commit, session, text: toLogText(commit), resume })
      this.#schedule()
    })
  }

  /** Writes to the log all that waits, now. */
  flushAll(): void {
    while (this.#waiting.length > 0) this.#writeGroup("all")
  }

  /** The tables hold all that was acknowledged before; fails where they cannot. */
  readonly settle: Effect.Effect<void, StoreUnavailable> = Effect.callback((resume) => {
    const { log } = this.#options
    if (this.#batch.count === 0 && this.#sent === undefined) return resume(Effect.void)
    this.#readers.push({ epoch: this.#batch.count > 0 ? log.epoch : log.epoch - 1, resume })
    this.#thread?.hold(true)
    this.#send()
  })

  /** A session that was removed from the tables. */
  forget(session: SessionId): void {
    this.#encoder.forget(session)
    this.#forgotten.push(session)
  }

  /** What cannot be taken in any more stays in the log for the next time. */
  async close(): Promise<void> {
    this.flushAll()
    this.#closed = true
    clearTimeout(this.#timer)
    if (this.#options.client.gate.closed) {
      this.#thread?.hold(true)
      await new Promise<void>((resolve) => (this.#onDone = resolve))
    }
    // Taken away before it ends: a flush that is due meanwhile must not hand it a batch that it would never give back.
    const thread = this.#thread
    this.#thread = null
    await thread?.end()
    this.#failure = undefined
    while (
      this.#failure === undefined &&
      !this.#options.client.gate.closed &&
      (this.#sent !== undefined || this.#batch.count > 0)
    )
      this.#send()
    clearTimeout(this.#timer)
    this.#options.log.close(this.#failure === undefined)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#since ??= performance.now()
    setImmediate(this.#flush)
  }

  /** The tables are so far behind that the log must not grow. */
  #isBehind(): boolean {
    return this.#batch.size + (this.#sent?.batch.size ?? 0) > maxBacklog
  }

  readonly #flush = (): void => {
    this.#scheduled = false
    if (this.#isBehind()) {
      this.#tryToSend()
      // It goes on when they have taken something in; who waits for an answer writes no more until then.
      if (this.#isBehind() && this.#failure === undefined && !this.#closed) return this.#thread?.hold(true)
    }
    const held = this.#writeGroup("fair")
    if (this.#waiting.length > held) this.#schedule()
    const { count, size } = this.#batch
    if (held > 0) {
      this.#tryToSend()
      // Done with already, or refused: nobody comes back to say so.
      if (this.#sent === undefined || this.#failure !== undefined) this.#schedule()
      else this.#thread?.hold(true)
    } else if (count >= batchCommits || size >= batchSize) this.#tryToSend()
    else if (count > 0) this.#arm(batchMs)
  }

  /** Answers how many have to wait because their session has its share. */
  #writeGroup(which: "fair" | "all"): number {
    const { log, client, onGroup } = this.#options
    // Where the tables fail, nobody waits for them: what has no room is told so.
    const held = which === "fair" && this.#failure === undefined ? this.#holdBack() : []
    const group = this.#takeGroup()
    const since = this.#since
    // Those that did not fit have waited about as long.
    if (this.#waiting.length === 0) this.#since = undefined
    if (held.length > 0) this.#waiting = [...held, ...this.#waiting]
    if (group.length === 0) return held.length
    try {
      if (this.#closed) throw new StoreUnavailable({ detail: `${client.file} is closed` })
      if (this.#failure !== undefined && this.#isBehind()) throw this.#failure.error
      let record = "["
      for (let i = 0; i < group.length; i++) record += i === 0 ? group[i]!.text : `,${group[i]!.text}`
      log.append(`${record}]`)
    } catch (error) {
      // What was described in these commits is written nowhere.
      this.#encoder.forgetAll()
      const answer = answerTo(client.file, error)
      group.forEach(({ resume }) => resume(answer))
      return held.length
    }
    for (const { commit, session, text } of group) this.#batch.add(commit, session, text.length)
    onGroup(group.length, since === undefined ? 0 : performance.now() - since)
    // Last: who is answered goes on at once.
    for (const { resume } of group) resume(Effect.void)
    return held.length
  }

  /** Takes those out of the waiting whose session has more on the way to the tables than its share. */
  #holdBack(): ReadonlyArray<Waiting> {
    // Without so much on the way nobody can have it.
    if (this.#batch.size + (this.#sent?.batch.size ?? 0) <= maxShare) return []
    const isOver = ({ commit }: Waiting) => this.#batch.sizeOf(commit.id) > maxShare
    const held = this.#waiting.filter(isOver)
    if (held.length > 0) this.#waiting = this.#waiting.filter((waiting) => !held.includes(waiting))
    return held
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

  // Into the tables

  #arm(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#tryToSend()
    }, ms).unref()
  }

  #isResting(): boolean {
    return this.#failure !== undefined && performance.now() - this.#failure.at < retryMs
  }

  #tryToSend(): void {
    if (this.#isResting()) this.#arm(retryMs)
    else this.#send()
  }

  /** Hands the next batch, or the one that failed, to whoever writes the tables; not while one is there. */
  #send(): void {
    const { client, log } = this.#options
    if (client.gate.closed) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#sent === undefined) {
      if (this.#batch.count === 0) return
      this.#sent = { batch: this.#batch, epoch: log.turnOver() }
      this.#batch = new CommitBatch(this.#batch)
    }
    const rows = this.#sent.batch.rows(this.#sent.epoch, this.#forgotten)
    this.#forgotten = []
    const thread = this.#startThread()
    if (thread !== null) {
      client.gate.close()
      return thread.write(rows)
    }
    try {
      ;(this.#writer ??= new BatchWriter(client.prepare)).write(rows)
      this.#done(undefined)
    } catch (error) {
      this.#done(error)
    }
  }

  #startThread(): TableThread | null {
    if (this.#thread !== undefined) return this.#thread
    const { file, durability, busyTimeoutMs } = this.#options.client
    try {
      this.#thread = this.#options.startThread({
        file,
        durability,
        busyTimeoutMs,
        done: (error) => this.#returned(error),
        lost: () => this.#lost(),
      })
      this.#thread.hold(this.#readers.length > 0)
    } catch {
      this.#thread = null
    }
    return this.#thread
  }

  /** The thread is done with its batch. */
  #returned(error: unknown): void {
    this.#done(error)
    this.#options.client.gate.open()
    this.#onDone?.()
    if (this.#closed) return
    // Who goes on waiting for the thread says so again.
    this.#thread?.hold(this.#readers.length > 0)
    if (this.#waiting.length > 0) this.#schedule()
    const { count, size } = this.#batch
    if (this.#readers.length > 0 || count >= batchCommits || size >= batchSize) this.#tryToSend()
    else if (count > 0 || this.#sent !== undefined) this.#arm(this.#failure === undefined ? batchMs : retryMs)
  }

  /** The thread is gone. Whether its batch got into the tables, they say themselves; if not, it is written here. */
  #lost(): void {
    const { client } = this.#options
    this.#thread = null
    if (!client.gate.closed) return
    let through = -1
    try {
      through = client.prepare("SELECT epoch FROM log_progress").get()!["epoch"] as number
    } catch (error) {
      return this.#returned(error)
    }
    if (this.#sent !== undefined && through >= this.#sent.epoch) return this.#returned(undefined)
    client.gate.open()
    this.#send()
    this.#onDone?.()
  }

  /** A failure is nobody's but the readers': everything is durable. It is tried again. */
  #done(error: unknown): void {
    const { onApplied, client } = this.#options
    const { batch, epoch } = this.#sent!
    if (error !== undefined) {
      this.#failure = { error, at: performance.now() }
      const readers = this.#readers
      this.#readers = []
      this.#arm(retryMs)
      const answer = answerTo(client.file, error)
      return readers.forEach(({ resume }) => resume(answer))
    }
    this.#failure = undefined
    this.#sent = undefined
    this.#batch.before = undefined
    const readers = this.#readers
    this.#readers = readers.filter((reader) => reader.epoch > epoch)
    onApplied(batch.count, batch.size)
    for (const reader of readers) if (reader.epoch <= epoch) reader.resume(Effect.void)
  }
}

const answerTo = (file: string, error: unknown): Effect.Effect<never, StoreUnavailable> => {
  try {
    return Effect.fail(toFailure(file, error))
  } catch (defect) {
    return Effect.die(defect)
  }
}
