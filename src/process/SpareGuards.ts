/**
 * Guards in advance: forked and connected before there is a command for them, so that a start costs no more than a
 * message and the exec. A spare serves one command or none; one that ends or loses a stream is forgotten. How a
 * command is started on one is `SpawnServer`'s business, which owns the pool and without which there is none.
 */
import type { Socket } from "node:net"
import type { ConnectBackTarget } from "./ConnectBack.ts"
import type { GuardEvent } from "./GuardProtocol.ts"
import { disown, own, type StreamName, type StreamOwner } from "./OwnedStream.ts"
import type { ServerGeneration } from "./ServerGeneration.ts"

/** Enough for a start and a restart or two at once; each is a process of 33 KB and three descriptors. */
export const defaultSpares = 4
/** How long after the last start spares are replaced, in ms: the new command comes first. */
const refillMs = 2
/** How long the runtime's start waits for the first ones, in ms. */
const firstMs = 250
/** How long no spare is asked for after one failed, in ms: descriptors or processes are short. */
const scarceMs = 2_000

export interface SpareGuard {
  readonly id: number
  readonly generation: ServerGeneration
  readonly streams: Readonly<Record<StreamName, Socket>>
}

/** Asks the server for a guard that will connect back to `target`; undefined where there is no server to ask. */
export type AskForSpare = (target: ConnectBackTarget) => Asked | undefined
export interface Asked {
  readonly id: number
  readonly token: string
  readonly generation: ServerGeneration
}

class Spare implements ConnectBackTarget, StreamOwner {
  readonly pool: SpareGuards
  asked!: Asked
  readonly streams: Partial<Record<StreamName, Socket>> = {}

  constructor(pool: SpareGuards) {
    this.pool = pool
  }

  get whole(): boolean {
    return this.streams.stdin !== undefined && this.streams.stdout !== undefined && this.streams.stderr !== undefined
  }

  connect(name: StreamName, socket: Socket): void {
    this.streams[name] = socket
    own(socket, this, name)
    this.pool.connected(this)
  }

  /** Nothing comes before there is a command. */
  receive(): void {}

  drain(): void {}

  streamClosed(): void {
    this.pool.failed(this)
  }

  /** The guard sees the end of its streams and goes. */
  discard(): void {
    for (const socket of Object.values(this.streams)) disown(socket)
  }
}

export class SpareGuards {
  private readonly wanted: number
  private readonly ask: AskForSpare
  private readonly spares = new Map<number, Spare>()
  private readonly tokens = new Map<string, Spare>()
  private timer: NodeJS.Timeout | undefined
  private scarceUntil = 0
  private closed = false
  /** Called whenever one is ready or will never be, while `fill` waits. */
  private settled: (() => void) | undefined

  constructor(wanted: number, ask: AskForSpare) {
    this.wanted = wanted
    this.ask = ask
  }

  /** Asks for the first ones. Resolves when they are ready, or not to be had, or after `firstMs`. */
  fill(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, firstMs)
      this.settled = () => {
        if (this.tokens.size > 0) return
        clearTimeout(timer)
        this.settled = undefined
        resolve()
      }
      this.refill()
      this.settled()
    })
  }

  /** One that is ready: its streams want an owner at once. */
  take(): SpareGuard | undefined {
    for (const spare of this.spares.values()) {
      if (!spare.whole) continue
      const { id, generation } = spare.asked
      this.spares.delete(id)
      this.refillSoon()
      return { id, generation, streams: spare.streams as Record<StreamName, Socket> }
    }
    return undefined
  }

  find(token: string): ConnectBackTarget | undefined {
    return this.tokens.get(token)
  }

  /** True: the event was about a spare. */
  on(event: Exclude<GuardEvent, { type: "hello" | "probed" }>): boolean {
    const spare = this.spares.get(event.id)
    if (spare === undefined) return false
    this.failed(spare)
    return true
  }

  /** The server of these is dead; its spares would have nobody to reap what they leave. */
  drop(generation: ServerGeneration): void {
    for (const spare of Array.from(this.spares.values())) if (spare.asked.generation === generation) this.forget(spare)
  }

  /** Gives up what is held, and asks for no more for a while: something else needs the descriptors. */
  yield(): void {
    for (const spare of Array.from(this.spares.values())) this.forget(spare)
    this.scarce()
  }

  close(): void {
    this.closed = true
    clearTimeout(this.timer)
    for (const spare of Array.from(this.spares.values())) this.forget(spare)
  }

  refillSoon(ms = refillMs): void {
    if (this.closed || this.wanted === 0) return
    this.timer ??= setTimeout(() => this.refill(), ms).unref()
  }

  // ---- for its spares ----

  connected(spare: Spare): void {
    if (!spare.whole) return
    this.tokens.delete(spare.asked.token)
    this.settled?.()
  }

  failed(spare: Spare): void {
    this.forget(spare)
    this.scarce()
  }

  private refill(): void {
    this.timer = undefined
    const rest = this.scarceUntil - performance.now()
    if (rest > 0) return this.refillSoon(rest)
    while (!this.closed && this.spares.size < this.wanted) {
      const spare = new Spare(this)
      const asked = this.ask(spare)
      if (asked === undefined) return
      spare.asked = asked
      this.spares.set(asked.id, spare)
      this.tokens.set(asked.token, spare)
    }
  }

  private forget(spare: Spare): void {
    this.spares.delete(spare.asked.id)
    this.tokens.delete(spare.asked.token)
    spare.discard()
    this.settled?.()
  }

  private scarce(): void {
    this.scarceUntil = performance.now() + scarceMs
    this.refillSoon(scarceMs)
  }
}
