/** MCP over streamable HTTP, at `/mcp` of `creche serve --http`. */
import * as http from "node:http"
import type { ConformanceClient, Identity, Transport } from "../ConformanceClient.ts"
import { onEvents } from "./Http.ts"
import { padded } from "./JsonRpcPeer.ts"
import { type Exchange, initialize, mcpClient, mcpLacks } from "./Mcp.ts"
import { served } from "./Served.ts"

/** Over one HTTP client, in a session of its own. */
const connectTo = async (url: string, token: string | undefined): Promise<ConformanceClient> => {
  const agent = new http.Agent({ keepAlive: true })
  let session: string | undefined

  const post = (body: string): Promise<http.IncomingMessage> =>
    new Promise((resolve, reject) => {
      const headers = {
        "Content-Type": "application/json",
        Accept: "application/json, text/event-stream",
        "Content-Length": Buffer.byteLength(body),
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(session === undefined ? {} : { "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25" }),
      }
      const request = http.request(`${url}/mcp`, { method: "POST", headers, agent }, resolve)
      request.on("error", reject)
      request.end(body)
    })

  /** The answer to a request: a document, or the last of the events of its stream. */
  const answerIn = async (response: http.IncomingMessage, id: number): Promise<any> => {
    if (response.headers["content-type"]?.startsWith("text/event-stream") === true) {
      return new Promise((resolve, reject) => {
        onEvents(response, ({ data }) => {
          if (data.id === id) resolve(data)
        })
        response.on("error", reject)
        response.on("close", () => reject(new Error("the stream ended without its answer")))
      })
    }
    let text = ""
    response.setEncoding("utf8")
    for await (const chunk of response) text += chunk as string
    const answer = JSON.parse(text)
    const { tag, code, data, detail } = answer
    return tag === undefined ? answer : { error: { code, message: detail, data: { tag, ...data } } }
  }

  const exchange: Exchange = async (message, signal, bytes) => {
    const answer = post(padded(JSON.stringify(message), bytes)).then((response) => answerIn(response, message.id))
    if (signal === undefined) return answer
    const givenUp = new Promise<undefined>((resolve) =>
      signal.addEventListener("abort", async () => {
        const params = { requestId: message.id }
        const cancelled = { jsonrpc: "2.0", method: "notifications/cancelled", params }
        ;(await post(JSON.stringify(cancelled))).resume()
        resolve(undefined)
      }),
    )
    answer.catch(() => {})
    return Promise.race([answer, givenUp])
  }

  const introduced = await post(JSON.stringify(initialize))
  session = introduced.headers["mcp-session-id"] as string
  await answerIn(introduced, initialize.id)
  return mcpClient(exchange, async () => agent.destroy())
}

export const mcpHttp: Transport = {
  name: "MCP, HTTP",
  lacks: {
    ...mcpLacks,
    tokens: "a token has the tools of its scopes, and no others: `test/transport/HttpMcp.test.ts`",
  },
  open: async (directory) => {
    const { url, tokenOf, close } = await served(directory, { http: true })
    const clients: Array<ConformanceClient> = []
    return {
      connect: async (as: Identity = "admin") => {
        const client = await connectTo(url, tokenOf(as))
        clients.push(client)
        return client
      },
      close: async () => {
        for (const client of clients) await client.disconnect()
        await close()
      },
    }
  },
}
