/**
 * Google's Gemini API on loopback, enough of it for gemini-cli: what it says stands in `MockScript`. As a program it prints
 * its address.
 */
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { sceneFor, type Scene } from "./MockScript.ts"

interface Part {
  readonly text?: string
  readonly functionResponse?: { readonly response?: Readonly<Record<string, unknown>> }
}
interface Content {
  readonly role?: string
  readonly parts?: ReadonlyArray<Part>
}

/** What the CLI says in people's name: where it is, and what it found there. */
const isPreamble = (text: string): boolean => /^\s*(<session_context>|This is the Gemini CLI|<[a-z_]+>)/.test(text)

const sceneOf = (contents: ReadonlyArray<Content>, instructions: string): Scene => {
  const users = contents.filter(({ role }) => role === "user")
  const prompts = users.flatMap(({ parts = [] }) =>
    parts.flatMap(({ text }) => (text === undefined || isPreamble(text) ? [] : [text.trim()])),
  )
  const last = users.at(-1)?.parts ?? []
  const result = last.find(({ functionResponse }) => functionResponse !== undefined)?.functionResponse?.response
  const output = result === undefined ? undefined : String(result["output"] ?? JSON.stringify(result))
  return sceneFor(prompts, output, instructions)
}

const answer = async (response: ServerResponse, scene: Scene, streams: boolean): Promise<void> => {
  let isOpen = true
  response.on("close", () => (isOpen = false))
  const chunk = (parts: ReadonlyArray<object>, isLast: boolean) => ({
    candidates: [{ content: { role: "model", parts }, index: 0, ...(isLast ? { finishReason: "STOP" } : {}) }],
    usageMetadata: { promptTokenCount: 11, candidatesTokenCount: 7, totalTokenCount: 18 },
    modelVersion: "mock",
  })
  if (scene.tag === "failure") {
    response.writeHead(scene.status, { "content-type": "application/json" })
    const error = { code: scene.status, message: `refused with ${scene.status}, as asked`, status: "INVALID_ARGUMENT" }
    return void response.end(JSON.stringify({ error }))
  }
  const pieces: ReadonlyArray<object> =
    scene.tag === "text"
      ? scene.pieces.map((text) => ({ text }))
      : scene.tag === "thinking"
        ? [{ text: scene.thought, thought: true }, ...scene.pieces.map((text) => ({ text }))]
        : scene.tag === "tool"
          ? [{ text: "a tool: " }, { functionCall: { name: scene.name ?? "run_shell_command", args: scene.input } }]
          : [{ text: "well" }]
  if (!streams) {
    response.writeHead(200, { "content-type": "application/json" })
    return void response.end(JSON.stringify(chunk(pieces, true)))
  }
  response.writeHead(200, { "content-type": "text/event-stream" })
  for (const [at, piece] of pieces.entries()) {
    if (!isOpen) return
    response.write(`data: ${JSON.stringify(chunk([piece], scene.tag !== "hang" && at === pieces.length - 1))}\n\n`)
    if (scene.tag === "text" && scene.everyMs > 0) await sleep(scene.everyMs)
  }
  if (scene.tag !== "hang") response.end()
}

if (import.meta.main) {
  const server = createServer((request, response) => {
    const chunks: Array<Buffer> = []
    request.on("data", (data: Buffer) => chunks.push(data))
    request.on("end", () => {
      const [, call] = /:(\w+)(\?|$)/.exec(request.url ?? "") ?? []
      if (call === "countTokens") return void response.end(JSON.stringify({ totalTokens: 1 }))
      if (call !== "streamGenerateContent" && call !== "generateContent") return void response.writeHead(404).end("{}")
      const body = JSON.parse(Buffer.concat(chunks).toString()) as { contents: ReadonlyArray<Content> }
      // The CLI lets a small model choose the large one.
      if (call === "generateContent" && JSON.stringify(body).includes("complexity_score")) {
        const text = JSON.stringify({ complexity_reasoning: "none", complexity_score: 1 })
        return void answer(response, { tag: "text", pieces: [text], everyMs: 0 }, false)
      }
      const instructions = JSON.stringify((body as { systemInstruction?: unknown }).systemInstruction ?? "")
      void answer(response, sceneOf(body.contents, instructions), call === "streamGenerateContent")
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
}
