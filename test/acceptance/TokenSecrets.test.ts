/**
 * A token's secret is with its holder alone: a runtime is used with it and attacked without it in every way that there is, and
 * then everything that it wrote is searched: its data directory with database and logs of commits, its log at its most talkative,
 * what it answered, transcripts, metrics.
 */
import { WebSocket } from "@effect/platform-node-shared/NodeWS"
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import * as http from "node:http"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { execFileSync } from "node:child_process"
import { describe, expect, it } from "vitest"
import { bin, freePort, ServedRuntime } from "./ServedRuntime.ts"

const filesBelow = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())

describe("the secret of a token", () => {
  it("is in nothing that a runtime writes or answers, whatever is done with it", { timeout: 300_000 }, async () => {
    const directory = mkdtempSync(join(tmpdir(), "creche-secrets-"))
    const data = join(directory, "data")
    const cli = (...args: ReadonlyArray<string>): string =>
      execFileSync(process.execPath, [bin, ...args, "--data", data], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      })
    const port = await freePort()
    const flags = ["--http", `127.0.0.1:${port}`, "--demo", "--log-level", "debug"]
    let runtime = new ServedRuntime(data, flags)
    try {
      await runtime.listening(60_000)
      const token = cli("token", "create", "whole", "--scope", "admin").trim()
      const confined = cli("token", "create", "small", "--scope", "read", "--tag", "a=b").trim()
      const revoked = cli("token", "create", "gone", "--scope", "admin").trim()
      cli("token", "revoke", "gone")
      const secretOf = (text: string) => text.split("_")[2]!
      const guessed = "ab12cd34".repeat(8)
      const secrets = [secretOf(token), secretOf(confined), secretOf(revoked), guessed]
      const wrong = `creche_${token.split("_")[1]}_${guessed}`
      const answers: Array<string> = []

      const send = async (method: string, path: string, headers: Record<string, string> = {}, body?: unknown) => {
        const response = await fetch(`http://127.0.0.1:${port}${path}`, {
          method,
          headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        })
        const text = await response.text()
        answers.push(text, JSON.stringify([...response.headers]))
        return { status: response.status, text }
      }
      const bearer = (text: string) => ({ Authorization: `Bearer ${text}` })
      const raw = (text: string) =>
        new Promise<void>((done) => {
          const socket = net.connect(port, "127.0.0.1")
          socket.on("data", (chunk: Buffer) => answers.push(chunk.toString("latin1")))
          socket.on("error", () => {})
          socket.on("close", () => done())
          socket.end(text)
        })
      const webSocket = (headers: Record<string, string>, ...messages: ReadonlyArray<object>) =>
        new Promise<void>((done) => {
          const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/ws`, { headers })
          let open = messages.length
          socket.on("error", (error: Error) => answers.push(error.message))
          socket.on("close", (_code: number, reason: Buffer) => {
            answers.push(reason.toString())
            done()
          })
          socket.on("message", (text: Buffer) => {
            answers.push(text.toString())
            if (--open === 0) socket.close()
          })
          socket.on("open", () =>
            messages.forEach((message, id) => socket.send(JSON.stringify({ jsonrpc: "2.0", id, ...message }))),
          )
        })
      const initialize = (given: string) => ({ method: "initialize", params: { protocolVersion: 1, token: given } })
      const mcp = { Accept: "application/json, text/event-stream" }
      const hello = {
        jsonrpc: "2.0",
        id: 1,
        method: "initialize",
        params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
      }

      // As it is meant.
      expect((await send("GET", "/v1/info", bearer(token))).status).toBe(200)
      expect((await send("POST", "/v1/sessions/demo/turns?wait=true", bearer(token), { prompt: "hi" })).status).toBe(
        200,
      )
      await send("GET", "/v1/sessions/demo", bearer(confined))
      await send("POST", "/mcp", { ...bearer(token), ...mcp }, hello)
      await webSocket(bearer(token), { method: "runtime/info" })
      await webSocket({}, initialize(token), { method: "session/list" })
      await webSocket({}, initialize(token), initialize(confined))
      // As it is not.
      for (const given of [wrong, revoked, `${token}0`, guessed]) {
        expect((await send("GET", "/v1/info", bearer(given))).status).toBe(401)
        await send("POST", "/mcp", { ...bearer(given), ...mcp }, hello)
        await webSocket(bearer(given))
        await webSocket({}, initialize(given), initialize(given), initialize(given))
      }
      const all = secrets.join(".")
      await send("GET", `/v1/info?token=${all}&access_token=${all}`, bearer(token))
      await send("GET", `/v1/sessions?limit=${all}`, bearer(token))
      await send("GET", `/nowhere?token=${all}`, { Authorization: `Basic ${all}` })
      await send("GET", "/v1/info", {
        Authorization: all,
        Cookie: all,
        "Last-Event-ID": all,
        Origin: `http://${all}.example`,
      })
      await send("GET", "/metrics", bearer(token))
      await send("GET", "/v1/stats", bearer(token))
      await raw(`GET /v1/info HTTP/1.1\r\nHost: ${all}\r\nAuthorization: Bearer ${token}\r\n\r\n`)
      await raw(`GET /v1/info HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer ${token}\r\nBroken ${all}\r\n\r\n`)
      await raw(`Bearer ${token}\r\n\r\n`)
      await new Promise<void>((done) => {
        const request = http.request({ host: "127.0.0.1", port, path: "/v1/sessions", method: "POST" }, (response) => {
          response.resume()
          response.on("close", () => done())
        })
        request.on("error", () => done())
        request.setHeader("Authorization", `Bearer ${token}`)
        request.setHeader("Content-Type", "application/json")
        // Cut off in the midst of what must not be repeated.
        request.end(`{"name": "${token}`)
      })
      const transcript = await send("GET", "/v1/sessions/demo/transcript", bearer(token))
      expect(transcript.text).toContain('"turn/ended"')

      // What is written down outlives the runtime, in order and not.
      const said: Array<string> = []
      const check = (where: string, text: string) => {
        for (const secret of secrets) expect(text.includes(secret), `${where} holds a secret`).toBe(false)
      }
      await runtime.kill("SIGKILL")
      said.push(runtime.stderr)
      runtime = new ServedRuntime(data, flags)
      await runtime.listening(60_000)
      expect((await send("GET", "/v1/sessions/demo", bearer(token))).status).toBe(200)
      await runtime.kill("SIGTERM")
      said.push(runtime.stderr)
      expect(said.join("")).toContain("http: refused")
      for (const [at, text] of said.entries()) check(`the log of the ${at + 1}. runtime`, text)
      for (const text of answers) check(`the answer ${text.slice(0, 300)}`, text)
      const files = filesBelow(directory)
      expect(files.some((file) => file.endsWith("creche.db"))).toBe(true)
      for (const file of files) check(file, readFileSync(file, "latin1"))
      check("the list of tokens", cli("token", "list", "--json"))
    } finally {
      await runtime.kill()
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    }
  })
})
