/**
 * One process of an agent under a protocol, stepped by hand: what a session does with it and nothing more, so that a scene can be
 * played against the real CLI and against its recording alike. Supervises nothing; whoever opened it ends it.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { StringDecoder } from "node:string_decoder"
import type { Prompt } from "../../src/domain/Prompt.ts"
import type { Protocol, ProtocolEvent, Resumption, Step } from "../../src/protocols/Protocol.ts"

type Of<T extends ProtocolEvent["type"]> = Extract<ProtocolEvent, { readonly type: T }>

export interface Launch {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
}

export interface Driven {
  readonly child: ChildProcess
  readonly events: ReadonlyArray<ProtocolEvent>
  /** The first event of that type from now on that fits; past ones do not count. Fails after 20 s, or when the process ends. */
  readonly next: <T extends ProtocolEvent["type"]>(type: T, fits?: (event: Of<T>) => boolean) => Promise<Of<T>>
  readonly prompt: (prompt: Prompt) => void
  /** Prompts, and waits for the end of the turn. */
  readonly ask: (prompt: Prompt) => Promise<Of<"ended">>
  readonly cancel: () => void
  readonly answer: (request: string, option: string) => void
  readonly exited: Promise<number | string>
  readonly stop: (signal?: NodeJS.Signals) => Promise<number | string>
}

export const deadlineMs = 20_000

export const drive = <S>(
  protocol: Protocol<S>,
  { command, args, env, cwd }: Launch,
  from: Resumption | null,
  onLine: (dir: "in" | "out", line: string) => void = () => {},
): Driven => {
  const freshId = "fresh"
  const all = [...args, ...(protocol.args?.({ from, freshId }) ?? [])]
  const child = spawn(command, all, { cwd, env, stdio: ["pipe", "pipe", "pipe"] })
  const events: Array<ProtocolEvent> = []
  const waiting = new Set<{ readonly take: (event: ProtocolEvent) => boolean; readonly fail: (error: Error) => void }>()
  const decoder = new StringDecoder("utf8")
  let stderr = ""
  let half = ""
  let timer: NodeJS.Timeout | undefined
  let state: S

  const step = (next: Step<S>): void => {
    state = next.state
    for (const event of next.events) {
      events.push(event)
      if (event.type === "write") {
        for (const line of event.data.trimEnd().split("\n")) onLine("in", line)
        child.stdin.write(event.data)
      } else if (event.type === "deadline") {
        clearTimeout(timer)
        if (event.at !== null) {
          timer = setTimeout(() => step(protocol.timer(state, Date.now())), Math.max(0, event.at - Date.now()))
        }
      }
      for (const waiter of waiting) if (waiter.take(event)) waiting.delete(waiter)
    }
  }

  child.stdin.on("error", () => {})
  child.stderr.on("data", (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-2_000)
  })
  child.stdout.on("data", (chunk: Buffer) => {
    const lines = (half + decoder.write(chunk)).split("\n")
    half = lines.pop() ?? ""
    // One by one: what a scene does about a line stands right behind it in the recording.
    for (const line of lines) {
      onLine("out", line)
      step(protocol.frames(state, [line], Date.now()))
    }
  })
  const exited = new Promise<number | string>((resolve) => {
    child.on("error", (error) => resolve(error.message))
    child.on("close", (code, signal) => resolve(code ?? signal ?? "unknown"))
  })
  void exited.then((how) => {
    clearTimeout(timer)
    for (const { fail } of waiting) fail(new Error(`the process ended with ${how}; stderr: ${stderr}`))
    waiting.clear()
  })

  const next: Driven["next"] = (type, fits = () => true) =>
    new Promise((resolve, reject) => {
      const last = () => JSON.stringify(events.slice(-3))
      const late = setTimeout(() => {
        waiting.delete(waiter)
        reject(new Error(`no ${type} within ${deadlineMs} ms; last events ${last()}; stderr: ${stderr}`))
      }, deadlineMs)
      const waiter = {
        take: (event: ProtocolEvent) => {
          if (event.type !== type || !fits(event as Of<typeof type>)) return false
          clearTimeout(late)
          resolve(event as Of<typeof type>)
          return true
        },
        fail: (error: Error) => {
          clearTimeout(late)
          reject(error)
        },
      }
      waiting.add(waiter)
    })
  const prompt = (what: Prompt): void => step(protocol.prompt(state, what, "token", Date.now()))

  // In the next turn of the loop: whoever opened it waits for events first.
  setImmediate(() => step(protocol.start({ freshId, cwd, from, now: Date.now(), costUsd: null })))
  return {
    child,
    events,
    next,
    prompt,
    ask: (what) => {
      const ended = next("ended")
      prompt(what)
      return ended
    },
    cancel: () => step(protocol.cancel!(state)),
    answer: (request, option) => step(protocol.answer!(state, request, option)),
    exited,
    stop: (signal = "SIGTERM") => {
      child.kill(signal)
      return exited
    },
  }
}
