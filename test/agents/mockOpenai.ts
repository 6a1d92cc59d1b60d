/**
 * OpenAI's responses API on loopback, enough of it for Codex: what it says stands in `MockScript`. Besides: `run escalated
 * COMMAND` has the command run outside of Codex's sandbox, so that Codex asks; `use apply_patch {"file","text"}` adds a file;
 * a turn that Codex begins by itself for a goal is answered as `count 40 20`.
 * Keeps a note of every request. As a program it prints its address.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { sceneFor } from "./MockScript.ts"

export interface MockRequest {
  readonly path: string
  /** All that people said in the conversation, oldest first. */
  readonly prompts: ReadonlyArray<string>
  readonly tools: ReadonlyArray<string>
  readonly body: unknown
  /** The client closed the connection before the answer was complete. */
  aborted: boolean
}

export interface MockOpenai {
  readonly url: string
  readonly requests: ReadonlyArray<MockRequest>
  readonly close: () => Promise<void>
}

type Fields = Readonly<Record<string, unknown>>

const fieldsOf = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {})

const textsOf = (content: unknown): ReadonlyArray<string> => {
  if (typeof content === "string") return [content]
  if (!Array.isArray(content)) return []
  return content.map((part) => fieldsOf(part)["text"]).filter((text) => typeof text === "string")
}

/** What Codex says in the user's name: its surroundings and the instructions of the project. */
const isPreamble = (text: string): boolean => /^\s*(<[a-z_]+[ >]|# AGENTS\.md)/i.test(text)

/** It goes on with a goal of its own, of which nobody said anything just now. */
const isForGoal = (input: ReadonlyArray<unknown>): boolean => {
  const last = input.map(fieldsOf).findLast(({ role }) => role === "user")
  return textsOf(last?.["content"]).some((text) => text.includes('source="goal"'))
}

const saidBy = (input: ReadonlyArray<unknown>): ReadonlyArray<string> =>
  input
    .map(fieldsOf)
    .filter((item) => item["role"] === "user")
    .map((item) =>
      textsOf(item["content"])
        .filter((text) => !isPreamble(text))
        .join("\n"),
    )
    .filter((text) => text !== "")

/** What Codex tells the model besides what people say. */
const instructionsOf = (body: Fields, input: ReadonlyArray<unknown>): string =>
  JSON.stringify([body["instructions"], input.map(fieldsOf).filter(({ role }) => role === "developer")])

/** The output of the call that the last item is; undefined where it is none. */
const outputOf = (input: ReadonlyArray<unknown>): string | undefined => {
  const last = fieldsOf(input.at(-1))
  if (!String(last["type"]).endsWith("_call_output")) return undefined
  return textsOf(last["output"]).join("") || JSON.stringify(last["output"])
}

const toolName = (tool: unknown): string => {
  const { name, type } = fieldsOf(tool) as { name?: string; type?: string }
  return name ?? type ?? ""
}

interface Call {
  readonly kind: "function_call" | "custom_tool_call"
  readonly name: string
  readonly input: string
}

/** `escalate`: the input asks the client to run it outside its sandbox, which the client asks its user for. */
const shellCall = (command: string, tools: ReadonlyArray<string>): Call => {
  const own = /^escalated (.*)$/s.exec(command)?.[1]
  const more =
    own === undefined ? {} : { sandbox_permissions: "require_escalated", justification: "the script wants it so" }
  return tools.includes("exec_command")
    ? { kind: "function_call", name: "exec_command", input: JSON.stringify({ cmd: own ?? command, ...more }) }
    : { kind: "function_call", name: "shell_command", input: JSON.stringify({ command: own ?? command, ...more }) }
}

/** `patch` in a script is `{"file": "a.txt", "text": "one line"}`. Without a tool of its own Codex takes patches in its shell. */
const patchCall = ({ file, text }: Fields, tools: ReadonlyArray<string>): Call => {
  const patch = `*** Begin Patch\n*** Add File: ${String(file)}\n+${String(text)}\n*** End Patch\n`
  return tools.includes("apply_patch")
    ? { kind: "custom_tool_call", name: "apply_patch", input: patch }
    : shellCall(`apply_patch <<'EOF'\n${patch}EOF`, tools)
}

const callFor = (name: string | null, input: Fields, tools: ReadonlyArray<string>): Call => {
  if (name === null) return shellCall(String(input["command"]), tools)
  if (name === "apply_patch") return patchCall(input, tools)
  return { kind: "function_call", name, input: JSON.stringify(input) }
}

/** One answer as server-sent events. */
class Reply {
  private readonly response: ServerResponse
  private readonly id: string
  private sequence = 0
  private readonly items: Array<Fields> = []

  constructor(response: ServerResponse, id: string) {
    this.response = response
    this.id = id
    response.writeHead(200, { "content-type": "text/event-stream" })
    this.event("response.created", { response: { id, object: "response", status: "in_progress", output: [] } })
  }

  private event(type: string, fields: Fields): void {
    if (this.response.destroyed) return
    this.response.write(
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: this.sequence++, ...fields })}\n\n`,
    )
  }

  private item(item: Fields, between: () => void = () => {}): void {
    const output_index = this.items.length
    this.event("response.output_item.added", { output_index, item: { ...item, status: "in_progress", content: [] } })
    between()
    this.done(item)
  }

  private done(item: Fields): void {
    this.event("response.output_item.done", { output_index: this.items.length, item })
    this.items.push(item)
  }

  reason(text: string): void {
    const id = `rs_${this.id}`
    const summary = [{ type: "summary_text", text }]
    this.item({ type: "reasoning", id, summary }, () => {
      const at = { item_id: id, output_index: this.items.length, summary_index: 0 }
      this.event("response.reasoning_summary_part.added", { ...at, part: { type: "summary_text", text: "" } })
      this.event("response.reasoning_summary_text.delta", { ...at, delta: text })
    })
  }

  call({ kind, name, input }: Call): void {
    const call_id = `call_${this.id}`
    const own = kind === "function_call" ? { arguments: input } : { input }
    this.item({ type: kind, id: `fc_${this.id}`, call_id, name, ...own, status: "completed" })
  }

  async say(pieces: ReadonlyArray<string>, everyMs: number, isWhole = true): Promise<void> {
    const id = `msg_${this.id}`
    const output_index = this.items.length
    const item = { type: "message", id, role: "assistant" }
    this.event("response.output_item.added", { output_index, item: { ...item, status: "in_progress", content: [] } })
    for (const delta of pieces) {
      if (this.response.destroyed) return
      this.event("response.output_text.delta", { item_id: id, output_index, content_index: 0, delta })
      if (everyMs > 0) await sleep(everyMs)
    }
    if (!isWhole) return
    const text = pieces.join("")
    this.done({ ...item, status: "completed", content: [{ type: "output_text", text, annotations: [] }] })
  }

  end(): void {
    const usage = {
      input_tokens: 10,
      input_tokens_details: { cached_tokens: 4 },
      output_tokens: 5,
      output_tokens_details: { reasoning_tokens: 1 },
      total_tokens: 15,
    }
    const response = { id: this.id, object: "response", status: "completed", output: this.items, usage }
    this.event("response.completed", { response })
    if (!this.response.destroyed) this.response.end()
  }
}

const json = (response: ServerResponse, status: number, value: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" })
  response.end(JSON.stringify(value))
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString("utf8")
}

export const startMockOpenai = async (port = 0): Promise<MockOpenai> => {
  const requests: Array<MockRequest> = []
  const respond = async (response: ServerResponse, path: string, body: Fields): Promise<void> => {
    const input = Array.isArray(body["input"]) ? (body["input"] as ReadonlyArray<unknown>) : [body["input"]]
    const tools = (Array.isArray(body["tools"]) ? body["tools"] : []).map(toolName)
    const all = saidBy(input)
    const seen: MockRequest = { path, prompts: all, tools, body, aborted: false }
    requests.push(seen)
    const id = `r${requests.length}`
    const scene = isForGoal(input)
      ? sceneFor(["count 40 20"])
      : sceneFor(all, outputOf(input), instructionsOf(body, input))
    if (scene.tag === "failure") {
      const error = { message: `refused with ${scene.status}, as asked`, type: "server_error" }
      return json(response, scene.status, { error })
    }
    const reply = new Reply(response, id)
    response.on("close", () => {
      seen.aborted = !response.writableFinished
    })
    switch (scene.tag) {
      case "tool":
        reply.call(callFor(scene.name, scene.input, tools))
        break
      case "hang":
        await reply.say(["well"], 0, false)
        return
      case "thinking":
        reply.reason(scene.thought)
        await reply.say(scene.pieces, 0)
        break
      case "text":
        await reply.say(scene.pieces, scene.everyMs)
        break
    }
    reply.end()
  }

  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?")[0] ?? ""
    bodyOf(request)
      .then((body) => {
        if (request.method === "POST" && path === "/v1/responses") {
          return respond(response, path, fieldsOf(JSON.parse(body)))
        }
        requests.push({ path, prompts: [], tools: [], body, aborted: false })
        if (path === "/v1/models") return json(response, 200, { object: "list", data: [], models: [] })
        return json(response, 404, { error: { message: "the mock does not know this", type: "invalid_request_error" } })
      })
      .catch((error: unknown) => {
        console.error(error)
        response.destroy()
      })
  })
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject)
    server.listen(port, "127.0.0.1", resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

if (import.meta.main) console.log((await startMockOpenai(Number(process.argv[2] ?? 0))).url)
