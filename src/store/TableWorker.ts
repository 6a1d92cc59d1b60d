/**
 * What runs in the thread of TableThread: takes a batch, writes it in one transaction, says how it went. Imports no
 * more than it needs: a thread starts with an empty module cache.
 */
import { parentPort, workerData } from "node:worker_threads"
import { BatchWriter } from "./BatchWriter.ts"
import type { RowBatch } from "./RowBatch.ts"
import { DatabaseSync, type StatementSync } from "./Sqlite.ts"

export interface ThreadConfig {
  readonly file: string
  readonly durability: "process" | "power"
  readonly busyTimeoutMs: number
}

export interface ThreadReply {
  /** What SQLite refused with; undefined when the batch is in the tables. */
  readonly error: { readonly message: string; readonly code?: unknown; readonly errcode?: unknown } | undefined
}

const { file, durability, busyTimeoutMs } = workerData as ThreadConfig
const sqliteFull = 13

const open = () => {
  const database = new DatabaseSync(file)
  database.exec(`PRAGMA busy_timeout = ${Math.trunc(busyTimeoutMs)}`)
  // Checkpoints are the Checkpointer's; the one in this thread is only the net.
  // Up to 64 MB of pages are kept: enough that a turn costs the same among 50,000 sessions as among ten.
  database.exec(`PRAGMA wal_autocheckpoint = 8000; PRAGMA cache_size = -12000;
    PRAGMA synchronous = ${durability === "power" ? "FULL" : "NORMAL"}`)
  const statements = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql)
    if (statement === undefined) statements.set(sql, (statement = database.prepare(sql)))
    return statement
  }
  return { prepare, writer: new BatchWriter(prepare) }
}

const recycle = () => {
  try {
    opened?.prepare("PRAGMA wal_checkpoint(PASSIVE)").get()
  } catch {
    // As full as before.
  }
}

let opened: ReturnType<typeof open> | undefined

const write = (batch: RowBatch): ThreadReply => {
  try {
    opened ??= open()
    opened.writer.write(batch)
    return { error: undefined }
  } catch (error) {
    const { message, code, errcode } = error as Error & { readonly code?: unknown; readonly errcode?: number }
    // What is in the tables already needs no more room in SQLite's log: where that helps, the next try gets through.
    if (((errcode ?? 0) & 0xff) === sqliteFull) recycle()
    return { error: { message, code, errcode } }
  }
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- of a window's; this is a thread's
parentPort!.on("message", (batch: RowBatch) => parentPort!.postMessage(write(batch)))
