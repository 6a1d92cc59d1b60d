/**
 * The process of a session's incarnation as its actor has it: the line to it, and what its stdin has not taken yet. One at a
 * time; made anew with every spawn. What it reports goes to the actor as events, but nothing of one that was replaced.
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LimitReached, SessionNotRunning, SpawnFailed } from "../domain/Errors.ts"
import type { Session } from "../domain/Session.ts"
import type { ShutdownSpec, Signal } from "../domain/SessionSpec.ts"
import type { PoliteStep } from "../protocols/PoliteStop.ts"
import type { SessionEvent } from "./SessionEvent.ts"
import type { Launch, SessionHost } from "./SessionHost.ts"
import type { SessionReply, SessionState } from "./SessionState.ts"
import { StdinBacklog } from "./StdinBacklog.ts"
import { SubprocessLink } from "./SubprocessLink.ts"

export interface ProcessOwner {
  post(event: SessionEvent): void
  snapshot(): Session
  notRunning(): SessionNotRunning
}

type ProcessHost = Pick<SessionHost, "spawner" | "run" | "now">

export class CurrentProcess {
  readonly #host: ProcessHost
  readonly #owner: ProcessOwner
  #link: SubprocessLink | undefined
  #stdin: StdinBacklog | undefined

  constructor(host: ProcessHost, owner: ProcessOwner) {
    this.#host = host
    this.#owner = owner
  }

  /** From the beginning of a spawn until nothing of the process is left. */
  get isThere(): boolean {
    return this.#link !== undefined
  }

  /** `state`: asked once the session is let in; its spec may be another by then. */
  spawn(
    state: () => SessionState,
    launch: Effect.Effect<Launch, SpawnFailed | LimitReached>,
    onAdmitted: () => void,
  ): void {
    const owner = this.#owner
    this.closeStdin()
    const link: SubprocessLink = new SubprocessLink({
      spawner: this.#host.spawner,
      launch,
      framing: () => {
        const { protocol, spec } = state()
        return { kind: protocol.framing, lineBytes: spec.limits.lineBytes }
      },
      // What a process that was replaced still says is nobody's.
      post: (event) => {
        if (this.#link !== link) return
        if (event.type === "closed" || event.type === "spawnFailed") {
          this.#link = undefined
          this.closeStdin()
        } else if (event.type === "admitted") onAdmitted()
        owner.post(event)
      },
      onDrain: () => this.#stdin?.drained(),
      now: () => this.#host.now(),
      run: (effect) => this.#host.run(effect),
    })
    this.#link = link
    this.#stdin = new StdinBacklog(
      (data) => link.write(data),
      () => owner.snapshot(),
      (bytes) => {
        this.closeStdin()
        owner.post({ type: "broken", detail: `it does not read its stdin: ${bytes} bytes would wait for it` })
      },
    )
    link.start()
  }

  /** A step of asking it to end. What waits for room in its stdin would stand before that, and may wait for ever. */
  askToEnd(step: PoliteStep): void {
    this.closeStdin()
    switch (step.type) {
      case "write":
        if (step.data !== "") this.#link?.write(step.data)
        return
      case "closeStdin":
        return this.#link?.endStdin()
      case "signal":
        return this.#link?.signal(step.signal)
    }
  }

  /** What it has not read by now it will not be given: its end closes the pipe, which must not pass for reading. */
  terminate(shutdown: ShutdownSpec): void {
    this.closeStdin()
    this.#link?.terminate(shutdown)
  }

  /** For its stdin; `reply` is answered once it has taken it. */
  write(data: string | Uint8Array, reply: SessionReply | null): void {
    if (this.#stdin !== undefined) this.#stdin.offer(data, reply)
    // What a protocol says while its child is asked to end goes behind what asks it.
    else if (reply === null) this.#link?.write(data)
    else reply(Exit.fail(this.#owner.notRunning()))
  }

  signal(signal: Signal): void {
    this.#link?.signal(signal)
  }

  /** The actor has taken in all that was posted. */
  taken(): void {
    this.#link?.taken()
  }

  closeStdin(): void {
    const stdin = this.#stdin
    this.#stdin = undefined
    stdin?.close(() => this.#owner.notRunning())
  }
}
