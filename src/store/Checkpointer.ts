/**
 * Moves the write-ahead log into the database on a thread of its own, whose fsyncs then hold up no session. SQLite's own
 * checkpoint in the writer's thread stays as the net beneath it: for a log that outgrew this one, and where there is no
 * second thread to be had.
 */
import { Worker } from "node:worker_threads"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqliteClient } from "./SqliteClient.ts"

/** Pages in the log, by estimate, that make it worth while. */
const worthwhilePages = 2000
/** Pages that a commit touches besides its own text. */
const pagesPerWrite = 4
const pageBytes = 4096

/** As text, so that it is there wherever this file ends up; without imports it needs nothing around it. */
const program = `
const { parentPort, workerData } = require("node:worker_threads")
process.emitWarning = () => {}
const database = new (require("node:sqlite").DatabaseSync)(workerData)
database.exec("PRAGMA busy_timeout = 1000")
const checkpoint = database.prepare("PRAGMA wal_checkpoint(PASSIVE)")
parentPort.on("message", () => {
  try { checkpoint.get() } catch {}
  parentPort.postMessage(null)
})`

export class Checkpointer {
  readonly #file: string
  #worker: Worker | undefined
  #pages = 0
  #state: "idle" | "working" | "without" = "idle"

  private constructor(file: string) {
    this.#file = file
  }

  static readonly make = (client: SqliteClient): Effect.Effect<Checkpointer, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => new Checkpointer(client.file)),
      (checkpointer) => Effect.promise(() => checkpointer.#stop()),
    )

  /** So many writes with so much text went into the log. */
  wrote(writes: number, size: number): void {
    this.#pages += writes * pagesPerWrite + size / pageBytes
    if (this.#pages < worthwhilePages || this.#state !== "idle") return
    this.#pages = 0
    this.#state = "working"
    try {
      this.#worker ??= this.#start()
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- of a window's; this is a thread's
      this.#worker.postMessage(null)
    } catch {
      this.#state = "without"
    }
  }

  #start(): Worker {
    const worker = new Worker(program, { eval: true, workerData: this.#file, execArgv: [], env: {} })
    worker.on("message", () => {
      if (this.#state === "working") this.#state = "idle"
    })
    worker.on("error", () => {
      this.#state = "without"
    })
    worker.unref()
    return worker
  }

  /** The database may only be closed after this: the last to close it tidies up. */
  async #stop(): Promise<void> {
    this.#state = "without"
    await this.#worker?.terminate()
  }
}
