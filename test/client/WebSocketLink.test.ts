import { spawn } from "node:child_process"
import * as http from "node:http"
import * as net from "node:net"
import { afterEach, describe, expect, it } from "vitest"
import { WebSocketServer } from "@effect/platform-node-shared/NodeWS"
import { connect, CrecheError } from "../../src/client/index.ts"
import { openWebSocket } from "../../src/client/WebSocketLink.ts"
import { deadline } from "../transport/Client.ts"
import { changeTokens } from "../../src/transport/Tokens.ts"
import { cleanUp, cleanups, serving, tokenFile } from "../transport/HttpFixture.ts"

afterEach(cleanUp)

const failureOf = (promise: Promise<unknown>): Promise<CrecheError> =>
  promise.then(
    () => expect.fail("it should have failed"),
    (error: unknown) => {
      expect(error).toBeInstanceOf(CrecheError)
      return error as CrecheError
    },
  )

const listening = async (server: net.Server | http.Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  cleanups.push(() => server.close())
  return (server.address() as net.AddressInfo).port
}

describe("a client of a URL", () => {
  it("comes in with its token, and not without or with another", async () => {
    const { file, tokens } = tokenFile({ name: "bot", scopes: ["admin"] })
    const { url, stub } = await serving({ tokens: { file, required: true } })
    stub.session({ name: "a" })
    const client = await connect({ url, token: tokens["bot"]! })
    expect((await client.ask({ session: "a", prompt: "hi" })).text).toBe("echo hi")
    await client.close()
    const wrong = await failureOf(connect({ url, token: `creche_${"0".repeat(12)}_${"0".repeat(64)}` }))
    expect(wrong).toMatchObject({ tag: "Unauthorized", code: -32008 })
    expect(await failureOf(connect({ url }))).toMatchObject({ tag: "Unauthorized", code: -32008 })
  })

  it("is over when its token is revoked, and does not knock again and again", async () => {
    const { file, tokens } = tokenFile({ name: "bot", scopes: ["admin"] })
    const { url, logs } = await serving({ tokens: { file, required: true }, heartbeatMs: 50 })
    const client = await connect({ url, token: tokens["bot"]!, reconnect: { initialMs: 1, maxMs: 5 } })
    changeTokens(file, () => [])
    await client.closed
    expect(await failureOf(client.request("runtime/info", {}))).toMatchObject({ tag: "Unauthorized" })
    expect(logs.filter((line) => line.includes("refused")).length).toBeLessThan(5)
  })

  it("says who does not answer, and what answers in other words", async () => {
    const server = http.createServer((_, response) => response.writeHead(404).end("<html>"))
    const other = await failureOf(connect({ url: `http://127.0.0.1:${await listening(server)}` }))
    expect(other).toMatchObject({ tag: "NoRuntime" })
    expect(other.message).toContain("404")
    const silent = net.createServer(() => {})
    const port = await listening(silent)
    const late = await failureOf(connect({ url: `http://127.0.0.1:${port}`, timeoutMs: 100 }))
    expect(late).toMatchObject({ tag: "NoRuntime", data: { errno: "ETIMEDOUT" } })
    const nobody = await failureOf(connect({ url: "http://127.0.0.1:1" }))
    expect(nobody).toMatchObject({ tag: "NoRuntime", data: { errno: "ECONNREFUSED" } })
    await expect(connect({ url: "127.0.0.1:8420" })).rejects.toThrow("the url must be")
    await expect(connect({ url: "http://x", socket: "/s" })).rejects.toThrow("either a url")
  })

  it("is lost when nothing is heard from the other side for long, and not while it does not read itself", async () => {
    const server = http.createServer()
    const upgrades = new WebSocketServer({ server })
    const port = await listening(server)
    const opened = new Promise<any>((resolve) => upgrades.on("connection", resolve))
    const link = await openWebSocket({
      url: `ws://127.0.0.1:${port}`,
      token: "t",
      timeoutMs: 5000,
      silentMs: 200,
    })
    const peer = await opened
    cleanups.push(() => peer.terminate())
    const begun = performance.now()
    const beats = setInterval(() => peer.ping(), 20)
    let isOver = false
    void link.closed.then(() => (isOver = true))
    await deadline("it has been pinged for long", () => performance.now() - begun > 500)
    expect(isOver).toBe(false)
    clearInterval(beats)
    expect(await failureOf(link.request("runtime/info", {}))).toMatchObject({ tag: "ConnectionLost" })
    await link.closed
  })

  it("lets its program end when it is closed, and leaves nothing open", async () => {
    const { url } = await serving()
    const index = new URL("../../src/client/index.ts", import.meta.url).href
    const script = `
      const { connect } = await import(${JSON.stringify(index)})
      const client = await connect({ url: process.argv[1] })
      await client.request("runtime/info", {})
      await client.close()
      process.on("exit", () => console.log("ended with", process.getActiveResourcesInfo().filter((r) => /TCP|Timeout/.test(r)).join()))`
    const child = spawn(process.execPath, ["--input-type=module", "-e", script, url], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    let said = ""
    child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()))
    const code = await new Promise((resolve) => child.once("exit", resolve))
    expect([code, said]).toEqual([0, "ended with \n"])
  })
})
