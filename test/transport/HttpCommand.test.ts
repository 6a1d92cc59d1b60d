import * as fs from "node:fs"
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

  it("asks for none with --no-auth, and ends in order", async () => {
    const { url, child, ended } = await serve("--no-auth")
    expect(await status(url)).toBe(200)
    child.kill("SIGTERM")
    expect(await ended).toMatchObject({ code: 0, stdout: "" })
  })

  it("is refused where others could reach it without a token file, and where flags make no sense", async () => {
    for (const flags of [[], ["--no-auth"], ["--token-file", "none.json"]]) {
      const { code, stderr } = await home.run(["serve", "--http", "0.0.0.0:0", ...flags])
      expect([code, stderr]).toEqual([1, expect.stringMatching(/^creche serve: HTTP is not served on /)])
    }
    for (const flags of [
      ["--http", "8420"],
      ["--no-auth"],
      ["--http", "127.0.0.1:0", "--no-auth", "--token-file", "x"],
    ]) {
      expect((await home.run(["serve", ...flags])).code).toBe(2)
    }
  })
})
