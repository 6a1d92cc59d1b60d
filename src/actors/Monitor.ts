/**
 * Death watch: whoever monitors an actor is told once, with the reason, when it is down; at once if it is
 * down already.
 */

export type DownReason =
  /** It stopped by itself. */
  | { readonly _tag: "Stopped" }
  /** It was interrupted from outside. */
  | { readonly _tag: "Interrupted" }
  /** It crashed and was not restarted. */
  | { readonly _tag: "Crashed"; readonly defect: unknown }

export interface Down {
  readonly actor: string
  readonly reason: DownReason
}

/** The watched side: collects watchers, and tells them once. */
export class Monitors {
  #down: Down | undefined
  #watchers: Set<(down: Down) => void> | undefined

  get down(): Down | undefined {
    return this.#down
  }

  /** Calls back once. The returned function ends the watch. */
  watch(onDown: (down: Down) => void): () => void {
    if (this.#down !== undefined) {
      onDown(this.#down)
      return () => {}
    }
    const watchers = (this.#watchers ??= new Set())
    watchers.add(onDown)
    return () => watchers.delete(onDown)
  }

  /** Nobody can be told otherwise from here on; the first reason wins. */
  close(down: Down): void {
    this.#down ??= down
  }

  /** Tells those that watch, each once. */
  tell(): void {
    const down = this.#down
    const watchers = this.#watchers
    if (down === undefined) return
    this.#watchers = undefined
    watchers?.forEach((onDown) => onDown(down))
  }
}
