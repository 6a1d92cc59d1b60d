/**
 * Lets the search index follow the turns while nobody searches: when the store is quiet, or far behind, in small batches
 * with a pause after each. A failure is left to the next occasion; a search that comes first catches up by itself.
 */
import { indexSome } from "./SqlSearch.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Commits that make it worth while, and those for which it does not wait for quiet any more. */
const worthwhile = 512
const farBehind = 100_000
/** So long without commits is quiet; and the pause after a batch (ms). */
const quietMs = 500
const pauseMs = 5

export class SearchIndexing {
  readonly #client: SqliteClient
  #unseen = 0
  #lastAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(client: SqliteClient) {
    this.#client = client
  }

  noticed(commits: number): void {
    this.#unseen += commits
    this.#lastAt = performance.now()
    if (this.#unseen >= worthwhile) this.#timer ??= this.#in(quietMs)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #in(ms: number): NodeJS.Timeout {
    return setTimeout(this.#step, ms).unref()
  }

  readonly #step = (): void => {
    this.#timer = undefined
    if (this.#unseen < farBehind && performance.now() - this.#lastAt < quietMs) {
      this.#timer = this.#in(quietMs)
      return
    }
    if (this.#client.gate.closed) {
      this.#timer = this.#in(pauseMs)
      return
    }
    try {
      if (indexSome(this.#client) > 0) this.#timer = this.#in(pauseMs)
      else this.#unseen = 0
    } catch {
      this.#unseen = 0
    }
  }
}
