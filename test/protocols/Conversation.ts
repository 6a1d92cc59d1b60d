/**
 * A plain child process driven by a protocol: the least loop that a session actor is. For tests of protocols
 * against real programs; it supervises nothing. The caller ends it with `stop`.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { StringDecoder } from "node:string_decoder"
import type { Prompt } from "../../src/domain/Prompt.ts"
import type { Protocol, ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

export type Ended = ProtocolEvent & { readonly type: "ended" }

export interface Conversation {
  readonly child: ChildProcess
  readonly ready: Promise<void>
  /** Resolves with the turn's end and the deltas that came before it. */
  readonly ask: (prompt: Prompt) => Promise<Ended & { readonly deltas: string }>
  readonly events: ReadonlyArray<ProtocolEvent>
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>
  readonly stop: () => Promise<void>
}

const deadlineMs = 20_000

export const converse = (
  protocol: Protocol,
  command: string,
  args: ReadonlyArray<string>,
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
  from: Resumption | null = null,
): Conversation => {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  })
  const events: Array<ProtocolEvent> = []
  const decoder = new StringDecoder("utf8")
  let stderr = ""
  let line = ""
  let timer: NodeJS.Timeout | undefined
  let tokens = 0
  let state: unknown
  const isReady = Promise.withResolvers<void>()
  let turn: PromiseWithResolvers<Ended> | undefined

  const take = (step: Step<unknown>) => {
    state = step.state
    for (const event of step.events) {
      events.push(event)
      switch (event.type) {
        case "ready":
          isReady.resolve()
          break
        case "write":
          child.stdin?.write(event.data)
          break
        case "ended":
          turn?.resolve(event)
          break
        case "deadline":
          clearTimeout(timer)
          if (event.at !== null) {
            timer = setTimeout(() => take(protocol.timer(state, Date.now())), Math.max(0, event.at - Date.now()))
          }
          break
        default:
          break
      }
    }
  }

  child.stdin?.on("error", () => {})
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  child.stdout?.on("data", (chunk: Buffer) => {
    const text = decoder.write(chunk)
    if (protocol.framing === "text") return take(protocol.frames(state, [text], Date.now()))
    const frames = (line + text).split("\n")
    line = frames.pop() ?? ""
    take(protocol.frames(state, frames, Date.now()))
  })
  child.stdout?.on("end", () => {
    if (line !== "") take(protocol.frames(state, [line], Date.now()))
    take(protocol.eof(state))
  })
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal }))
    child.on("error", () => resolve({ code: null, signal: null }))
  })

  const within = async <A>(what: string, promise: Promise<A>): Promise<A> => {
    let late: NodeJS.Timeout | undefined
    const expiry = new Promise<never>((_, reject) => {
      late = setTimeout(
        () =>
          reject(
            new Error(
              `${what} took over ${deadlineMs} ms; events ${JSON.stringify(events.slice(-5))}; stderr ${stderr.slice(-500)}`,
            ),
          ),
        deadlineMs,
      )
    })
    const gone = exited.then(({ code, signal }) => {
      throw new Error(`${what}: ${command} ended with ${code ?? signal}; stderr ${stderr.slice(-500)}`)
    })
    try {
      return await Promise.race([promise, expiry, gone])
    } finally {
      clearTimeout(late)
    }
  }

  take(protocol.start({ freshId: "f", cwd: "/", from, now: Date.now(), costUsd: null }))
  return {
    child,
    events,
    exited,
    ready: within("ready", isReady.promise),
    ask: async (prompt) => {
      const from = events.length
      turn = Promise.withResolvers<Ended>()
      take(protocol.prompt(state, prompt, `t${(++tokens).toString(36)}x`, Date.now()))
      const end = await within(`the turn ${JSON.stringify(prompt)}`, turn.promise)
      const deltas = events
        .slice(from)
        .map((event) => (event.type === "delta" ? event.text : ""))
        .join("")
      return { ...end, deltas }
    },
    stop: async () => {
      clearTimeout(timer)
      child.kill("SIGKILL")
      await exited
    },
  }
}

/** Whether a program is to be had here; a test that needs it is skipped otherwise. */
export const isInstalled = async (command: string, args: ReadonlyArray<string>): Promise<boolean> => {
  const child = spawn(command, args, { stdio: "ignore" })
  return await new Promise((resolve) => {
    child.on("error", () => resolve(false))
    child.on("close", (code) => resolve(code === 0))
  })
}
