/** An HTTP server over a runtime for tests: started on a free port, closed by the test, with a raw way in for what `fetch` would not send. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { expect } from "vitest"
import * as Http from "../../src/transport/Http.ts"
import { match } from "../../src/transport/HttpRoutes.ts"
import { changeTokens, makeToken, type NewToken } from "../../src/transport/Tokens.ts"
import { resultMisfits } from "../support/WireCheck.ts"
import { makeStub, type Stub } from "./StubRuntime.ts"

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: any
}

export interface Serving extends Http.HttpListening {
  readonly stub: Stub
  /** What was logged so far. */
  readonly logs: Array<string>
  readonly send: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>
  readonly raw: () => Promise<RawSocket>
  readonly close: () => Promise<void>
}

/** Bytes as they are; what came back so far, as text. */
export interface RawSocket {
  readonly socket: net.Socket
  readonly text: () => string
  readonly closed: Promise<void>
  readonly until: (what: string, fits: (text: string) => boolean, withinMs?: number) => Promise<string>
}

export const rawSocket = (port: number): Promise<RawSocket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1")
    let text = ""
    let wake = () => {}
    const closed = new Promise<void>((done) => socket.on("close", () => done()))
    socket.setEncoding("latin1")
    socket.on("data", (chunk: string) => {
      text += chunk
      wake()
    })
    socket.on("error", () => {})
    socket.once("error", reject)
    const until = (what: string, fits: (text: string) => boolean, withinMs = 10_000) =>
      new Promise<string>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`not within ${withinMs} ms: ${what}; got ${text}`)), withinMs)
        const look = () => {
          if (!fits(text)) return
          clearTimeout(timer)
          wake = () => {}
          resolve(text)
        }
        wake = look
        look()
      })
    socket.once("connect", () => resolve({ socket, text: () => text, closed, until }))
  })

/** All that is to be closed after a test, newest first. */
export const cleanups: Array<() => unknown> = []
export const cleanUp = async (): Promise<void> => {
  for (const each of cleanups.splice(0).toReversed()) await each()
}

export const temporary = (): string => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "creche-http-"))
  cleanups.push(() => fs.rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A file of tokens, and each token by its name. */
export const tokenFile = (...wanted: ReadonlyArray<NewToken>) => {
  const file = path.join(temporary(), "tokens.json")
  const tokens: Record<string, string> = {}
  for (const each of wanted) {
    const { token, record } = makeToken(each, Date.now())
    tokens[each.name] = token
    changeTokens(file, (all) => [...all, record])
  }
  return { file, tokens }
}

export const bearer = (token: string | undefined): Record<string, string> => ({ Authorization: `Bearer ${token}` })

export const serving = async (options: Partial<Http.HttpOptions> = {}, stub: Stub = makeStub()): Promise<Serving> => {
  const scope = Scope.makeUnsafe()
  const logs: Array<string> = []
  const logger = Logger.layer([Logger.make((entry) => void logs.push(Logger.formatLogFmt.log(entry) as string))])
  const listening = await Effect.runPromise(
    Http.serve({ address: { host: "127.0.0.1", port: 0 }, tokens: null, ...options }).pipe(
      Scope.provide(scope),
      Effect.provide(Layer.merge(stub.layer, logger)),
    ),
  )
  let closing: Promise<void> | undefined
  const close = () => (closing ??= Effect.runPromise(Scope.close(scope, Exit.void)))
  cleanups.push(close)
  const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(`${listening.url}${path}`, {
      method,
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = /json/.test(response.headers.get("content-type") ?? "")
    const json = isJson && text !== "" ? JSON.parse(text) : undefined
    const found = match(method, path.split("?")[0]!)
    // Of every answer with a result, also where the test looks at no more than its status.
    if (response.ok && json !== undefined && found._tag === "Found" && found.route.kind !== "text") {
      expect(resultMisfits(found.route.method, json)).toEqual([])
    }
    return { status: response.status, headers: response.headers, text, json }
  }
  const raw = async () => {
    const made = await rawSocket(listening.port)
    cleanups.push(() => made.socket.destroy())
    return made
  }
  return { ...listening, stub, logs, send, raw, close }
}

export interface SseEvent {
  readonly event: string | undefined
  readonly id: string | undefined
  readonly data: any
}

/** Whole events of a stream's text. */
export const eventsOf = (text: string): ReadonlyArray<SseEvent> =>
  text
    .split("\n\n")
    .slice(0, -1)
    .flatMap((block) => {
      const field = (name: string) =>
        block
          .split("\n")
          .find((line) => line.startsWith(`${name}: `))
          ?.slice(name.length + 2)
      const data = field("data")
      return data === undefined ? [] : [{ event: field("event"), id: field("id"), data: JSON.parse(data) }]
    })

export interface SseClient {
  readonly status: number
  readonly text: () => string
  readonly events: () => ReadonlyArray<SseEvent>
  /** The id that an `EventSource` would come back with. */
  readonly lastId: () => string | undefined
  readonly until: (what: string, fits: (events: ReadonlyArray<SseEvent>) => boolean) => Promise<ReadonlyArray<SseEvent>>
  readonly ended: Promise<void>
  readonly cut: () => void
}

export const sse = async (url: string, headers: Record<string, string> = {}): Promise<SseClient> => {
  const abort = new AbortController()
  cleanups.push(() => abort.abort())
  const response = await fetch(url, { headers, signal: abort.signal })
  let text = ""
  let wake = () => {}
  const decoder = new TextDecoder()
  const read = async () => {
    try {
      for await (const chunk of response.body!) {
        text += decoder.decode(chunk as Uint8Array, { stream: true })
        wake()
      }
    } catch {
      // Cut, by either side.
    }
    wake()
  }
  const ended = read()
  const whole = () => text.slice(0, text.lastIndexOf("\n\n") + 2)
  const events = () => eventsOf(whole())
  return {
    status: response.status,
    text: () => text,
    events,
    lastId: () => [...whole().matchAll(/^id: (.*)$/gm)].at(-1)?.[1],
    ended,
    cut: () => abort.abort(),
    until: (what, fits) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`not within 10 s: ${what}; got ${text.slice(-500)}`)), 10_000)
        const look = () => {
          const all = events()
          if (!fits(all)) return
          clearTimeout(timer)
          wake = () => {}
          resolve(all)
        }
        wake = look
        look()
      }),
  }
}
