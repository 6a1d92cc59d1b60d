/**
 * One incarnation's line to its OS process: spawns it, turns its bytes into session events, writes, signals,
 * terminates. Made anew for every incarnation; knows nothing of phases.
 */
import { StringDecoder } from "node:string_decoder"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Cause from "effect/Cause"
import * as Scope from "effect/Scope"
import { LimitReached, SpawnFailed } from "../domain/Errors.ts"
import { fullBucket, takeTokens, type TokenBucket, type TokenRate } from "../domain/TokenBucket.ts"
import type { ShutdownSpec, Signal } from "../domain/SessionSpec.ts"
import { makeFraming, type Framing } from "../process/Framing.ts"
import type { Spawner, Subprocess, SubprocessHandlers } from "../process/Subprocess.ts"
import type { FramingKind } from "../protocols/Protocol.ts"
import type { Launch } from "./SessionHost.ts"
import type { SessionEvent } from "./SessionEvent.ts"

/** How much of its last stderr a death remembers (UTF-16 units). */
const stderrTailLength = 2048
/**
 * Above this many bytes not yet taken in by the actor nothing more is read. Small, so that one batch of a flood is soon
 * dealt with: whoever else wants something of the runtime waits for that long.
 */
const highWaterBytes = 64 * 1024
/**
 * What one process may print in bytes, on both streams together: so much at once, then so much a second. Whatever it has to
 * say beyond that waits in its pipes. A flood that nobody reads then leaves the others room, and costs no memory.
 */
export const outputRate: TokenRate = { burst: 16 * 1024 * 1024, perSecond: 8 * 1024 * 1024 }

export interface SubprocessLinkOptions {
  readonly spawner: Spawner["Service"]
  /** May take its time; interrupted when the start is given up. */
  readonly launch: Effect.Effect<Launch, SpawnFailed | LimitReached>
  /** Asked when it may be launched. */
  readonly framing: () => { readonly kind: FramingKind; readonly lineBytes: number }
  readonly post: (event: SessionEvent) => void
  readonly onDrain: () => void
  /** Monotonic (ms). */
  readonly now: () => number
  readonly run: (effect: Effect.Effect<unknown>) => Fiber.Fiber<unknown>
}

export class SubprocessLink implements SubprocessHandlers {
  readonly #options: SubprocessLinkOptions
  readonly #scope = Scope.makeUnsafe()
  #framing!: Framing
  #subprocess: Subprocess | undefined
  #spawning: Fiber.Fiber<unknown> | undefined
  #ending: ShutdownSpec | undefined
  /** Of a process that was there already when its spawn was given up, and could not be killed. */
  #survivors: ReadonlyArray<number> = []
  /** Callbacks that overtook the news of the spawn itself. */
  #early: Array<() => void> | undefined = []
  #stderr: StringDecoder | undefined
  #stderrTail = ""
  /** Bytes of frames that were posted, and of the frame that is not whole yet. */
  #unread = 0
  #partial = 0
  #paused = false
  #bucket: TokenBucket
  /** It has printed too fast, and waits. */
  #resting: Fiber.Fiber<unknown> | undefined
  /** What the protocol is told when it starts. */
  #beginning = { cwd: "/", freshId: "" }

  constructor(options: SubprocessLinkOptions) {
    this.#options = options
    this.#bucket = fullBucket(outputRate, options.now())
  }

  start(): void {
    const { spawner, launch, framing, post, run } = this.#options
    this.#spawning = run(
      Effect.flatMap(launch, ({ command, freshId }) => {
        const { kind, lineBytes: maxBytes } = framing()
        this.#framing = makeFraming(kind, {
          maxBytes,
          onDropped: ({ reason, bytes, detail }) =>
            post(reason === "tooLong" ? { type: "oversize", bytes } : { type: "broken", detail }),
        })
        post({ type: "admitted" })
        this.#beginning = { cwd: command.cwd, freshId }
        return Scope.provide(spawner.spawn(command, this), this.#scope)
      }).pipe(
        Effect.onExit((exit) => Effect.sync(() => this.#spawned(exit))),
        Effect.exit,
      ),
    )
  }

  #spawned(exit: Exit.Exit<Subprocess, SpawnFailed | LimitReached>): void {
    const { post } = this.#options
    this.#spawning = undefined
    if (Exit.isSuccess(exit)) {
      const subprocess = exit.value
      this.#subprocess = subprocess
      post({ type: "spawned", pid: subprocess.pid, containment: subprocess.containment, ...this.#beginning })
      const early = this.#early ?? []
      this.#early = undefined
      for (const call of early) call()
      if (this.#ending !== undefined) this.terminate(this.#ending)
      return
    }
    const failure = Cause.squash(exit.cause)
    const news = (): SessionEvent =>
      Cause.hasInterruptsOnly(exit.cause)
        ? { type: "closed", survivors: this.#survivors, stderrTail: "" }
        : {
            type: "spawnFailed",
            error:
              failure instanceof SpawnFailed || failure instanceof LimitReached
                ? failure
                : new SpawnFailed({ command: "", field: "command", errno: "EIO", detail: String(failure) }),
          }
    // The news says that nothing is left, or what: first let there be nothing left.
    this.#closeScope(() => post(news()))
  }

  #closeScope(then: () => void): void {
    this.#options.run(Effect.ensuring(Scope.close(this.#scope, Exit.void), Effect.sync(then)))
  }

  /** False: hold back until `onDrain`. */
  write(data: string | Uint8Array): boolean {
    return this.#subprocess?.write(data) ?? true
  }

  endStdin(): void {
    this.#subprocess?.endStdin()
  }

  signal(signal: Signal): void {
    this.#subprocess?.signal(signal)
  }

  terminate(shutdown: ShutdownSpec): void {
    this.#ending = shutdown
    if (this.#subprocess !== undefined) this.#options.run(this.#subprocess.terminate(shutdown))
    else this.#spawning?.interruptUnsafe()
  }

  /** The actor has taken in everything that was posted. */
  taken(): void {
    this.#unread = 0
    if (this.#paused && this.#resting === undefined) this.#resume()
  }

  /** Counts what was read, and stops reading where that was much. */
  #charge(bytes: number): void {
    const { bucket, delayMs } = takeTokens(this.#bucket, outputRate, this.#options.now(), bytes)
    this.#bucket = bucket
    if (this.#paused || (delayMs === 0 && this.#unread <= highWaterBytes)) return
    this.#paused = true
    this.#subprocess?.pauseOutput()
    if (delayMs > 0) this.#rest(delayMs)
  }

  #rest(ms: number): void {
    this.#resting = this.#options.run(
      Effect.andThen(
        Effect.sleep(ms),
        Effect.sync(() => {
          this.#resting = undefined
          if (this.#unread <= highWaterBytes) this.#resume()
        }),
      ),
    )
  }

  #resume(): void {
    this.#paused = false
    this.#subprocess?.resumeOutput()
  }

  onStdout(chunk: Buffer): void {
    if (this.#early !== undefined) return void this.#early.push(() => this.onStdout(chunk))
    const frames = this.#framing.push(chunk)
    this.#partial += chunk.length
    // A long line brings the actor no news yet, so nobody would resume what were paused for it; framing bounds it.
    if (frames.length > 0) {
      this.#unread += this.#partial
      this.#partial = 0
      this.#options.post({ type: "frames", frames })
    }
    this.#charge(chunk.length)
  }

  onStderr(chunk: Buffer): void {
    if (this.#early !== undefined) return void this.#early.push(() => this.onStderr(chunk))
    const data = (this.#stderr ??= new StringDecoder("utf8")).write(chunk)
    if (data === "") return
    this.#unread += chunk.length
    this.#stderrTail =
      data.length >= stderrTailLength
        ? data.slice(-stderrTailLength)
        : (this.#stderrTail + data).slice(-stderrTailLength)
    this.#options.post({ type: "stderr", data })
    this.#charge(chunk.length)
  }

  onDrain(): void {
    this.#options.onDrain()
  }

  onExit(exit: Parameters<SubprocessHandlers["onExit"]>[0]): void {
    if (this.#early !== undefined) return void this.#early.push(() => this.onExit(exit))
    this.#options.post({ type: "exited", exit })
  }

  onStdoutEnd(): void {
    if (this.#early !== undefined) return void this.#early.push(() => this.onStdoutEnd())
    this.#endStdout()
  }

  #stdoutEnded = false
  #endStdout(): void {
    if (this.#stdoutEnded) return
    this.#stdoutEnded = true
    const rest = this.#framing.end()
    if (rest.length > 0) this.#options.post({ type: "frames", frames: rest })
    this.#options.post({ type: "stdoutEnd" })
  }

  onClosed(survivors: ReadonlyArray<number>): void {
    this.#survivors = survivors
    if (this.#early !== undefined) return void this.#early.push(() => this.onClosed(survivors))
    this.#endStdout()
    this.#resting?.interruptUnsafe()
    this.#closeScope(() => {})
    this.#options.post({ type: "closed", survivors, stderrTail: this.#stderrTail })
  }
}
