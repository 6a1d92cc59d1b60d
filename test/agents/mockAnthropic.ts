/**
 * The Messages API on loopback, enough of it for an agent that streams: what it says stands in `MockScript`. Keeps a note of
 * every request, so that a test can see what an agent sent and what it gave up on. As a program it prints its address.
 */
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { sceneFor, type Scene } from "./MockScript.ts"

interface Block {
  readonly type: string
  readonly text?: string
  readonly content?: string | ReadonlyArray<Block>
}

interface Message {
  readonly role: string
  readonly content: string | ReadonlyArray<Block>
}

export interface SeenRequest {
  readonly prompts: ReadonlyArray<string>
  readonly body: Readonly<Record<string, unknown>>
  /** The client closed the connection before the answer was complete. */
  aborted: boolean
}

export interface MockModel {
  readonly url: string
  readonly requests: ReadonlyArray<SeenRequest>
  readonly close: () => Promise<void>
}

const blocksOf = ({ content }: Message): ReadonlyArray<Block> =>
  typeof content === "string" ? [{ type: "text", text: content }] : content

/** What the agent adds on its own to what people say. */
const ownWords = /<system-reminder>[^]*?<\/system-reminder>|^\s*\[Request interrupted[^\]]*\]\s*$/g

const promptsOf = (message: Message): ReadonlyArray<string> =>
  blocksOf(message)
    .filter(({ type }) => type === "text")
    .map(({ text = "" }) => text.replaceAll(ownWords, "").trim())
    .filter((text) => text !== "")

const resultText = ({ content = "" }: Block): string =>
  typeof content === "string" ? content : content.map(({ text = "" }) => text).join("")

/** The result of a tool where that is the last word; undefined where a prompt is. */
const lastResult = (message: Message): string | undefined => {
  const blocks = blocksOf(message)
  const at = blocks.findLastIndex(({ type }) => type === "tool_result")
  if (at < 0 || promptsOf({ role: "user", content: blocks.slice(at + 1) }).length > 0) return undefined
  return resultText(blocks[at]!)
}

const sceneOf = (
  messages: ReadonlyArray<Message>,
  instructions: string,
): { readonly prompts: ReadonlyArray<string>; readonly scene: Scene } => {
  const users = messages.filter(({ role }) => role === "user")
  const prompts = users.flatMap(promptsOf)
  const last = users.at(-1)
  // The CLI's own news, of background work, say: nobody's prompt.
  const news = last === undefined ? "" : JSON.stringify(last.content)
  if (news.includes("<task-notification>")) {
    return { prompts, scene: { tag: "text", pieces: ["a ", "task ", "has ", "ended"], everyMs: 100 } }
  }
  return { prompts, scene: sceneFor(prompts, last === undefined ? undefined : lastResult(last), instructions) }
}

const json = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" })
  response.end(JSON.stringify(value))
}

let answers = 0

const stream = async (response: ServerResponse, model: unknown, scene: Scene, seen: SeenRequest): Promise<void> => {
  const number = ++answers
  let open = true
  response.on("close", () => {
    open = false
    seen.aborted = !response.writableFinished
  })
  const send = (type: string, fields: object) =>
    open && response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`)
  const block = async (index: number, start: object, deltas: ReadonlyArray<object>, everyMs = 0) => {
    send("content_block_start", { index, content_block: start })
    for (const delta of deltas) {
      if (!open) return
      send("content_block_delta", { index, delta })
      if (everyMs > 0) await sleep(everyMs)
    }
    send("content_block_stop", { index })
  }
  const textDeltas = (pieces: ReadonlyArray<string>) => pieces.map((text) => ({ type: "text_delta", text }))

  response.writeHead(200, { "content-type": "text/event-stream" })
  const usage = { input_tokens: 11, output_tokens: 1, cache_read_input_tokens: 3, cache_creation_input_tokens: 2 }
  const message = { id: `msg_${number}`, type: "message", role: "assistant", model, content: [], usage }
  send("message_start", { message: { ...message, stop_reason: null, stop_sequence: null } })
  switch (scene.tag) {
    case "text":
      await block(0, { type: "text", text: "" }, textDeltas(scene.pieces), scene.everyMs)
      break
    case "thinking":
      await block(0, { type: "thinking", thinking: "", signature: "" }, [
        { type: "thinking_delta", thinking: scene.thought },
        { type: "signature_delta", signature: "c2lnbmVk" },
      ])
      await block(1, { type: "text", text: "" }, textDeltas(scene.pieces))
      break
    case "tool":
      await block(0, { type: "text", text: "" }, textDeltas(["a tool: "]))
      await block(1, { type: "tool_use", id: `toolu_${number}`, name: scene.name ?? "Bash", input: {} }, [
        { type: "input_json_delta", partial_json: JSON.stringify(scene.input) },
      ])
      break
    case "hang":
      send("content_block_start", { index: 0, content_block: { type: "text", text: "" } })
      send("content_block_delta", { index: 0, delta: { type: "text_delta", text: "well" } })
      return
    case "failure":
      return
  }
  const stop = scene.tag === "tool" ? "tool_use" : "end_turn"
  send("message_delta", { delta: { stop_reason: stop, stop_sequence: null }, usage: { output_tokens: 7 } })
  send("message_stop", {})
  response.end()
}

/** A port of the system's choosing on 127.0.0.1, or `port`. */
export const startMockAnthropic = async (port = 0): Promise<MockModel> => {
  const requests: Array<SeenRequest> = []
  const server = createServer((request, response) => {
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      const path = (request.url ?? "").split("?")[0]
      if (path === "/v1/messages/count_tokens") return json(response, 200, { input_tokens: 1 })
      if (request.method !== "POST" || path !== "/v1/messages") {
        return json(response, 404, { type: "error", error: { type: "not_found_error", message: path } })
      }
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Readonly<Record<string, unknown>>
      const { prompts, scene } = sceneOf(
        body["messages"] as ReadonlyArray<Message>,
        JSON.stringify(body["system"] ?? ""),
      )
      const seen: SeenRequest = { prompts, body, aborted: false }
      requests.push(seen)
      if (scene.tag === "failure") {
        const message = `refused with ${scene.status}, as asked`
        const type = scene.status === 529 ? "overloaded_error" : "invalid_request_error"
        return json(response, scene.status, { type: "error", error: { type, message } })
      }
      if (body["stream"] !== true) {
        const text = scene.tag === "text" ? scene.pieces.join("") : "well"
        const usage = { input_tokens: 11, output_tokens: 7 }
        const content = [{ type: "text", text }]
        const { model } = body
        return json(response, 200, {
          ...{ id: "msg_0", type: "message", role: "assistant", model, content, usage },
          stop_reason: "end_turn",
          stop_sequence: null,
        })
      }
      void stream(response, body["model"], scene, seen)
    })
  })
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      return closed
    },
  }
}

if (import.meta.main) console.log((await startMockAnthropic(Number(process.argv[2] ?? 0))).url)
