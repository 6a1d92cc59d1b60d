/**
 * Lets the search index follow the turns while nobody searches: some time after many commits, in small batches, with a
 * pause after each. A failure is left to the next occasion; a search that comes first catches up by itself.
 */
import { indexSome } from "./SqlSearch.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Commits that make it worth while, and how long it waits for a quieter moment then (ms). */
const worthwhile = 512
const delayMs = 250
const pauseMs = 5

export class SearchIndexing {
  readonly #client: SqliteClient
  #unseen = 0
  #timer: NodeJS.Timeout | undefined

  constructor(client: SqliteClient) {
    this.#client = client
  }

  noticed(commits: number): void {
    this.#unseen += commits
    if (this.#unseen >= worthwhile && this.#timer === undefined) this.#again(delayMs)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #again(ms: number): void {
    this.#unseen = 0
    this.#timer = setTimeout(this.#step, ms).unref()
  }

  readonly #step = (): void => {
    this.#timer = undefined
    try {
      if (indexSome(this.#client) > 0) this.#again(pauseMs)
    } catch {
      this.#unseen = 0
    }
  }
}
