/**
 * A raw client for tests: writes bytes as they are, collects the messages that come back, waits with a deadline. Results of
 * its own requests and events have to fit the contract.
 */
import * as net from "node:net"
import type { Duplex } from "node:stream"
import { eventMisfits, resultMisfits } from "../support/WireCheck.ts"

export interface RawClient {
  readonly stream: Duplex
  readonly messages: Array<any>
  readonly send: (...messages: ReadonlyArray<unknown>) => void
  readonly raw: (bytes: string | Uint8Array) => void
  /** The first message that fits; waits for it up to 10 s. */
  readonly until: (fits: (message: any) => boolean) => Promise<any>
  readonly answer: (id: unknown) => Promise<any>
  readonly request: (method: string, params?: unknown) => Promise<any>
  readonly closed: Promise<void>
}

export const deadline = async (what: string, fits: () => boolean, withinMs = 10_000): Promise<void> => {
  const end = Date.now() + withinMs
  while (!fits()) {
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

const misfit = (problems: ReadonlyArray<string>): Error | undefined =>
  problems.length === 0 ? undefined : new Error(`does not fit the contract: ${problems.join("; ")}`)

export const rawClient = (stream: Duplex): RawClient => {
  const messages: Array<any> = []
  const waiting = new Set<() => void>()
  let rest = ""
  let count = 0
  let wrong: Error | undefined
  stream.setEncoding("utf8")
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const message = JSON.parse(line)
      if (message.method === "session/event" && wrong === undefined) wrong = misfit(eventMisfits(message.params))
      messages.push(message)
    }
    for (const wake of waiting) wake()
  })
  stream.on("error", () => {})
  const closed = new Promise<void>((resolve) => stream.on("close", () => resolve()))
  const until = (fits: (message: any) => boolean) =>
    new Promise<any>((resolve, reject) => {
      let from = 0
      const timer = setTimeout(() => {
        waiting.delete(look)
        reject(new Error(`no such message within 10 s: ${fits}; got ${JSON.stringify(messages.slice(-3))}`))
      }, 10_000)
      const look = () => {
        for (; from < messages.length; from++) {
          if (!fits(messages[from])) continue
          clearTimeout(timer)
          waiting.delete(look)
          return resolve(messages[from])
        }
      }
      waiting.add(look)
      look()
    })
  const raw = (bytes: string | Uint8Array) => void stream.write(bytes)
  const send = (...all: ReadonlyArray<unknown>) => raw(all.map((message) => `${JSON.stringify(message)}\n`).join(""))
  const answer = (id: unknown) => until((message) => "id" in message && message.id === id)
  const request = async (method: string, params?: unknown) => {
    const id = `r${++count}`
    send({ jsonrpc: "2.0", id, method, params })
    const message = await answer(id)
    wrong ??= "result" in message ? misfit(resultMisfits(method, message.result)) : undefined
    if (wrong !== undefined) throw wrong
    return message
  }
  return { stream, messages, send, raw, until, answer, request, closed }
}

export const connect = (path: string): Promise<RawClient> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ path, allowHalfOpen: true })
    socket.once("error", reject)
    socket.once("connect", () => resolve(rawClient(socket)))
  })
