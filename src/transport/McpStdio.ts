/**
 * MCP over a pair of byte streams, for one client: a JSON-RPC message a line. Holds back reading while the client does not read,
 * answers what is malformed and goes on. Ends when the client does; whose the runtime behind it is, it does not know. Called by
 * the command `mcp`.
 */
import type { Readable, Writable } from "node:stream"
import * as JsonRpc from "./JsonRpc.ts"
import { defaultLimitBytes, MessageDecoder } from "./MessageDecoder.ts"
import type { McpChannel } from "./McpProgress.ts"
import { type McpOptions, McpSession } from "./McpSession.ts"
import { Outbox } from "./Outbox.ts"

export interface McpStdioOptions extends McpOptions {
  readonly readable: Readable
  readonly writable: Writable
  /** The longest message, in bytes; default 16 MiB. */
  readonly maxMessageBytes?: number
  /** How long requests under way may take after the end of the input; default 1500, since hosts kill after 2000. */
  readonly drainMs?: number
  /** Ends it as the end of the input would. */
  readonly signal?: AbortSignal
}

const maxHeldBytes = 65_536

/** Resolves once the client is gone, or `signal` aborted, and what was due is written. */
export const serveMcp = (options: McpStdioOptions): Promise<void> =>
  new Promise((resolve) => {
    const { readable, writable, maxMessageBytes = defaultLimitBytes, drainMs = 1500, signal } = options
    let phase: "open" | "ended" | "gone" = "open"
    let blocked = false
    let held: Array<Buffer> = []
    let heldBytes = 0

    const decoder = new MessageDecoder(
      {
        onMessage: (text) => void session.receive(text, channel),
        onTooLarge: () => outbox.send(JsonRpc.failure(null, JsonRpc.messageTooLarge(maxMessageBytes))),
        onMalformed: (detail) => outbox.send(JsonRpc.failure(null, JsonRpc.unreadable(detail))),
      },
      maxMessageBytes,
    )
    const outbox = new Outbox({
      writable,
      framing: () => decoder.framing,
      onBlocked: (now) => {
        blocked = now
        while (held.length > 0 && !blocked) {
          const chunk = held.shift() as Buffer
          heldBytes -= chunk.length
          decoder.push(chunk)
        }
        if (held.length > 0 || blocked) return
        if (phase === "ended") decoder.end()
        else if (phase === "open") readable.resume()
      },
    })
    const channel: McpChannel = {
      send: (message) => outbox.send(message),
      room: () => new Promise((go) => outbox.whenEmpty(go)),
    }
    const session = new McpSession(options, channel)

    const gone = () => {
      if (phase === "gone") return
      phase = "gone"
      clearTimeout(patience)
      signal?.removeEventListener("abort", onEnd)
      held = []
      session.close()
      outbox.close()
      readable.destroy()
      resolve()
    }
    let patience: NodeJS.Timeout | undefined
    const settle = (): void =>
      session.whenIdle(() =>
        // An answer leaves its request's promise a moment after the request is done.
        setImmediate(() =>
          outbox.whenEmpty(() => {
            if (session.pending > 0 || held.length > 0) setImmediate(settle)
            else gone()
          }),
        ),
      )
    const onEnd = () => {
      if (phase !== "open") return
      phase = "ended"
      if (held.length === 0) decoder.end()
      patience = setTimeout(gone, drainMs)
      settle()
    }
    readable.on("data", (chunk: Buffer) => {
      if (phase !== "open") return
      if (!blocked) return decoder.push(chunk)
      held.push(chunk)
      heldBytes += chunk.length
      // Not at once, or the end of the input behind it would go unnoticed.
      if (heldBytes >= maxHeldBytes) readable.pause()
    })
    readable.on("end", onEnd)
    readable.on("close", onEnd)
    readable.on("error", gone)
    writable.on("error", gone)
    writable.on("close", gone)
    signal?.addEventListener("abort", onEnd, { once: true })
    if (signal?.aborted === true) onEnd()
  })
