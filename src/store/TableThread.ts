/**
 * The thread that writes batches into the tables, with a connection of its own, as seen from the runtime's thread: one
 * batch at a time. It keeps no process alive unless somebody waits for it. Where there is no thread to be had, or it
 * ends, `lost` is called and the batch is its owner's again.
 */
import { Worker } from "node:worker_threads"
import type { RowBatch } from "./RowBatch.ts"
import type { ThreadConfig, ThreadReply } from "./TableWorker.ts"

/** The sibling, as source or built. */
const program = new URL(import.meta.url.endsWith(".ts") ? "./TableWorker.ts" : "./TableWorker.js", import.meta.url)

export interface TableThreadOptions extends ThreadConfig {
  /** The batch that was handed in is in the tables, or it is not, and why. */
  readonly done: (error: Error | undefined) => void
  readonly lost: () => void
}

export interface TableThread {
  /** Answered by `done`; no other batch before that. */
  readonly write: (batch: RowBatch) => void
  /** Whether the process stays for it. */
  readonly hold: (waitedFor: boolean) => void
  /** Not before its batch is done. */
  readonly end: () => Promise<void>
}

export class TableWorkerThread implements TableThread {
  readonly #worker: Worker
  #ended = false

  /** Throws where no thread can be had. */
  constructor({ file, durability, busyTimeoutMs, done, lost }: TableThreadOptions) {
    const workerData: ThreadConfig = { file, durability, busyTimeoutMs }
    // A batch is copied to it and dropped: room for more than some of them would only be held.
    const resourceLimits = { maxYoungGenerationSizeMb: 8 }
    this.#worker = new Worker(program, { workerData, execArgv: [], env: {}, resourceLimits })
    const end = () => {
      if (this.#ended) return
      this.#ended = true
      lost()
    }
    this.#worker.on("message", ({ error }: ThreadReply) =>
      done(error === undefined ? undefined : Object.assign(new Error(error.message), error)),
    )
    this.#worker.on("error", end)
    this.#worker.on("exit", end)
    this.#worker.unref()
  }

  write(batch: RowBatch): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- of a window's; this is a thread's
    this.#worker.postMessage(batch)
  }

  hold(waitedFor: boolean): void {
    if (waitedFor) this.#worker.ref()
    else this.#worker.unref()
  }

  async end(): Promise<void> {
    this.#ended = true
    await this.#worker.terminate()
  }
}
