/**
 * Finds out which spawns lost a stream for want of a descriptor: their guards connected, and the runtime could not accept.
 * Nobody tells it so; it is concluded from the order of connections, not from the clock. `SpawnServer` asks.
 */
import { randomBytes } from "node:crypto"
import { afterEarlierConnections, type ConnectBackTarget } from "./ConnectBack.ts"
import { tokenBytes } from "./GuardProtocol.ts"
import type { GuardSubprocess } from "./GuardSubprocess.ts"

/** How long a spawn's streams may be missing, in ms, before it is asked whether they were refused. */
const refusedMs = 250

export class RefusedStreams {
  /** Of the socket that guards connect to. */
  private readonly path: string
  private newcomers: Array<GuardSubprocess> = []
  private timer: NodeJS.Timeout | undefined
  private sentinel: { readonly token: string; readonly target: ConnectBackTarget } | undefined

  constructor(path: string) {
    this.path = path
  }

  /** Its guard is there but not yet all of its streams. */
  suspect(subprocess: GuardSubprocess): void {
    this.newcomers.push(subprocess)
    if (this.sentinel === undefined) this.judgeSoon()
  }

  find(token: string): ConnectBackTarget | undefined {
    return token === this.sentinel?.token ? this.sentinel.target : undefined
  }

  close(): void {
    clearTimeout(this.timer)
    this.newcomers = []
  }

  private judgeSoon(): void {
    this.timer ??= setTimeout(() => this.judge(), refusedMs)
  }

  /** Their guards had connected before they told of the spawns: what is missing after all earlier connections was refused. */
  private judge(): void {
    const suspects = this.newcomers.filter((subprocess) => subprocess.starting)
    this.newcomers = []
    this.timer = undefined
    if (suspects.length === 0) return
    const token = randomBytes(tokenBytes).toString("latin1")
    this.sentinel = {
      token,
      target: afterEarlierConnections(this.path, token, () => {
        this.sentinel = undefined
        for (const subprocess of suspects) if (subprocess.starting) subprocess.fail("connect", "EMFILE")
        if (this.newcomers.length > 0) this.judgeSoon()
      }),
    }
  }
}
