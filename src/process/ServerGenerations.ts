/**
 * The lives of the guard's server process, one after the other: at most one runs; those that died are kept for as long as
 * guards of theirs live, which still report through them. What has to be done about a death is `SpawnServer`'s to say.
 */
import { ServerGeneration, type GenerationListener } from "./ServerGeneration.ts"

/** More than `mostStarts` servers within `startsMs`: no other for now. */
const mostStarts = 5
const startsMs = 1_000
/** How long the last one may take to end, in ms, before it is killed. */
const closeMs = 7_000

export interface GenerationsOptions extends GenerationListener {
  readonly binary: string
  readonly directory: string
  /** Node throws some spawn errors (EMFILE among them) where it reports others. */
  readonly onThrown: (error: Error) => void
}

export class ServerGenerations {
  current: ServerGeneration | undefined
  private readonly options: GenerationsOptions
  private count = 0
  private recentStarts: Array<number> = []
  private readonly retiring = new Set<ServerGeneration>()

  constructor(options: GenerationsOptions) {
    this.options = options
  }

  /** Whether guards of dead servers live. */
  get anyRetiring(): boolean {
    return this.retiring.size > 0
  }

  start(): void {
    const now = performance.now()
    this.recentStarts = this.recentStarts.filter((at) => at > now - startsMs)
    if (this.recentStarts.length >= mostStarts) return
    this.recentStarts.push(now)
    try {
      this.current = new ServerGeneration(++this.count, this.options.binary, this.options.directory, this.options)
    } catch (error) {
      this.options.onThrown(error as Error)
    }
  }

  /** Its process is dead. False: it was over before. */
  died(generation: ServerGeneration): boolean {
    if (this.current !== generation) return false
    this.current = undefined
    this.retiring.add(generation)
    this.retire(generation)
    return true
  }

  /** A guard of that generation is gone. */
  release(number: number): void {
    const { current } = this
    if (current !== undefined && current.number === number) {
      current.held--
      return
    }
    for (const generation of this.retiring) {
      if (generation.number !== number) continue
      generation.held--
      this.retire(generation)
    }
  }

  /** All guards end their trees at once. Resolves when the server is gone as well. */
  async close(): Promise<void> {
    const { current } = this
    const all = current === undefined ? [...this.retiring] : [...this.retiring, current]
    for (const generation of all) generation.abandonGuards()
    if (current !== undefined) {
      // Its guards may wait for a process that cannot be killed; they go on without it.
      const timer = setTimeout(() => current.kill(), closeMs)
      await current.exited
      clearTimeout(timer)
    }
    for (const generation of all) generation.close()
  }

  private retire(generation: ServerGeneration): void {
    if (generation.held > 0) return
    this.retiring.delete(generation)
    generation.close()
  }
}
