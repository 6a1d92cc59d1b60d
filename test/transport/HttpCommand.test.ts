import * as fs from "node:fs"
import * as http from "node:http"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Home } from "../cli/Cli.ts"
import { bearer } from "./HttpFixture.ts"

let home: Home
beforeEach(() => {
  home = new Home()
})
afterEach(() => home.dispose())

const serve = async (...flags: ReadonlyArray<string>) => {
  const serving = await home.serve("--http", "127.0.0.1:0", ...flags)
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(serving.stderr())?.[0]
  expect(url).toBeDefined()
  return { ...serving, url: url! }
}

const status = async (url: string, headers: Record<string, string> = {}) =>
  (await fetch(`${url}/v1/info`, { headers })).status

describe("creche serve --http", () => {
  it("lets in who has a token of creche token, until it is revoked, and writes none of it anywhere", async () => {
    const { url, stderr } = await serve()
    expect(await status(url)).toBe(401)
    const created = await home.run(["token", "create", "bot", "--scope", "read", "--tag", "team=a"])
    const token = created.stdout.trim()
    expect(token).toMatch(/^creche_[0-9a-f]{12}_[0-9a-f]{64}$/)
    expect(await status(url, bearer(token))).toBe(200)
    const listed = await home.run(["token", "list", "--json"])
    expect(JSON.parse(listed.stdout)).toMatchObject({
      name: "bot",
      scopes: ["read"],
      confinement: { tags: { team: "a" } },
    })
    expect((await home.run(["token", "create", "bot"])).code).toBe(1)
    expect((await home.run(["token", "revoke", "bot"])).stdout).toContain("is revoked")
    expect(await status(url, bearer(token))).toBe(401)
    expect((await home.run(["token", "revoke", "bot"])).code).toBe(1)
    const secret = token.split("_")[2]!.slice(0, 16)
    expect(stderr()).toContain("http: refused")
    for (const text of [stderr(), listed.stdout, created.stderr]) expect(text).not.toContain(secret)
    for (const file of fs.readdirSync(home.data)) {
      const path = join(home.data, file)
      if (fs.statSync(path).isFile()) expect(fs.readFileSync(path, "latin1")).not.toContain(secret)
    }
  })

  it("serves MCP at /mcp, and both on a unix socket too, of its owner alone", async () => {
    const socket = join(home.data, "http.sock")
    const { url, stderr, child, ended } = await serve("--http-socket", socket)
    expect(stderr()).toContain(`and on unix:${socket}`)
    expect(fs.statSync(socket).mode & 0o777).toBe(0o600)
    const initialize = {
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } },
    }
    const headers = { "Content-Type": "application/json", Accept: "application/json, text/event-stream" }
    const begin = (more: Record<string, string> = {}) =>
      fetch(`${url}/mcp`, { method: "POST", headers: { ...headers, ...more }, body: JSON.stringify(initialize) })
    expect((await begin()).status).toBe(401)
    const { stdout } = await home.run(["token", "create", "bot", "--scope", "read"])
    expect((await begin(bearer(stdout.trim()))).headers.get("mcp-session-id")).toMatch(/^[0-9a-f-]{36}$/)
    const answered = await new Promise<string>((resolve, reject) => {
      const request = http.request({ socketPath: socket, path: "/mcp", method: "POST", headers }, (response) => {
        response.on("data", (chunk: Buffer) => resolve(chunk.toString()))
      })
      request.on("error", reject)
      request.end(JSON.stringify(initialize))
    })
    expect(JSON.parse(answered).result.serverInfo.name).toBe("creche")
    child.kill("SIGTERM")
    expect(await ended).toMatchObject({ code: 0, stdout: "" })
    expect(fs.existsSync(socket)).toBe(false)
  })

  it("asks for none with --no-auth, and ends in order", async () => {
    const { url, child, ended } = await serve("--no-auth")
    expect(await status(url)).toBe(200)
    child.kill("SIGTERM")
    expect(await ended).toMatchObject({ code: 0, stdout: "" })
  })

  it(
    "is refused where others could reach it without a token file, and where flags make no sense",
    { timeout: 180_000 },
    async () => {
      for (const flags of [[], ["--no-auth"], ["--token-file", "none.json"]]) {
        const { code, stderr } = await home.run(["serve", "--http", "0.0.0.0:0", ...flags])
        expect([code, stderr]).toEqual([1, expect.stringMatching(/^creche serve: HTTP is not served on /)])
      }
      for (const flags of [
        ["--http", "8420"],
        ["--no-auth"],
        ["--no-auth", "--http-socket", "x"],
        ["--http-name", "x"],
        ["--token-file", "x"],
        ["--http", "127.0.0.1:0", "--no-auth", "--token-file", "x"],
        ["--http", "127.0.0.1:0", "--http-name", "https://creche.example.org"],
        ["--http", "127.0.0.1:0", "--http-name", "creche.example.org:8420"],
      ]) {
        expect((await home.run(["serve", ...flags])).code).toBe(2)
      }
      for (const flags of [
        [""],
        ["a", "--supervisor", ""],
        ["a", "--supervisor", "tenant-a"],
        ["a", "--expires-in-ms", "0"],
        ["a", "--expires-in-ms", "9000000000000000"],
      ]) {
        const { code, stdout, stderr } = await home.run(["token", "create", ...flags])
        expect([code, stdout, stderr]).toEqual([2, "", expect.stringMatching(/^creche token: .* wants /)])
      }
    },
  )
})
