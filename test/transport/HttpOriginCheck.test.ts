import { describe, expect, it, afterEach } from "vitest"
import { checkOrigin } from "../../src/transport/OriginCheck.ts"
import { isLoopback, parseAddress, urlOf } from "../../src/transport/HttpAddress.ts"
import { cleanUp, serving } from "./HttpFixture.ts"

afterEach(cleanUp)

const names = new Set(["creche.example"])
const verdict = (headers: Record<string, string>) => {
  const found = checkOrigin(headers, names)
  return found._tag === "Allowed" ? "Allowed" : found.header
}

describe("a request", () => {
  it.each([
    "localhost",
    "localhost:8420",
    "LOCALHOST",
    "127.0.0.1:1",
    "[::1]:8420",
    "[::1]",
    "10.0.0.7",
    "creche.example",
    "Creche.Example.:80",
  ])("may come to %s", (host) => expect(verdict({ host })).toBe("Allowed"))

  it.each([
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "creche.example.evil",
    "1.2.3",
    "2130706433",
    "0x7f000001",
    "",
    " ",
    "a b",
    "localhost:8420:1",
    "localhost@evil.example",
    "[::1].evil",
    "[evil]",
    "localhost/x",
    "xn--localhost",
  ])("may not come to %j, which may be bound to this address", (host) => expect(verdict({ host })).toBe("Host"))

  it("comes to exactly one host", () => {
    expect(checkOrigin({}, names)._tag).toBe("Refused")
    expect(checkOrigin({ host: "localhost" }, names, 2)._tag).toBe("Refused")
  })

  it("of a page is served where the page is its own", () => {
    const host = "localhost:8420"
    expect(verdict({ host, origin: "http://localhost:8420" })).toBe("Allowed")
    expect(verdict({ host: "creche.example", origin: "https://creche.example" })).toBe("Allowed")
    for (const origin of [
      "http://localhost:8421",
      "http://localhost",
      "http://evil.example",
      "null",
      "",
      "file://",
      "http://localhost:8420.evil",
      "http://127.0.0.1:8420",
      "chrome-extension://x",
    ]) {
      expect([origin, verdict({ host, origin })]).toEqual([origin, "Origin"])
    }
    expect(verdict({ host, "sec-fetch-site": "same-origin" })).toBe("Allowed")
    expect(verdict({ host, "sec-fetch-site": "none" })).toBe("Allowed")
    for (const site of ["cross-site", "same-site", "odd"])
      expect(verdict({ host, "sec-fetch-site": site })).toBe("Sec-Fetch-Site")
  })
})

describe("the server", () => {
  it("refuses them before it looks at anything else, also what needs no token, and logs it", async () => {
    const { raw, logs } = await serving()
    for (const [headers, header] of [
      ["Host: evil.example", "Host"],
      ["Host: localhost\r\nHost: evil.example", "Host"],
      ["X: y", "Host"],
      ["Host: localhost\r\nOrigin: http://evil.example", "Origin"],
      ["Host: localhost\r\nSec-Fetch-Site: cross-site", "Sec-Fetch-Site"],
    ]) {
      for (const path of ["/v1/info", "/openapi.json", "/", "/v1/nothing"]) {
        const { socket, until } = await raw()
        socket.write(`GET ${path} HTTP/1.1\r\n${headers}\r\n\r\n`)
        const text = await until("it is refused", (text) => text.includes("\r\n\r\n{"))
        expect(text).toMatch(/^HTTP\/1.1 403 /)
        expect(text).toContain(`"detail":"${header}: `)
        expect(text.toLowerCase()).not.toContain("access-control")
      }
    }
    expect(logs.length).toBeGreaterThan(0)
    expect(logs.join()).not.toContain("evil")
  })

  it("is served under the names that it was given", async () => {
    const { raw } = await serving({ names: ["creche.example"] })
    const { socket, until } = await raw()
    socket.write("GET /v1/info HTTP/1.1\r\nHost: creche.example\r\n\r\n")
    expect(await until("it is answered", (text) => text.includes("}"))).toMatch(/^HTTP\/1.1 200 /)
  })
})

describe("an address", () => {
  it("is HOST:PORT", () => {
    expect(parseAddress("127.0.0.1:8420")).toEqual({ host: "127.0.0.1", port: 8420 })
    expect(parseAddress("[::1]:0")).toEqual({ host: "::1", port: 0 })
    expect(urlOf({ host: "::1", port: 1 })).toBe("http://[::1]:1")
    for (const text of [
      "",
      "8420",
      ":8420",
      "localhost",
      "localhost:",
      "localhost:65536",
      "[x]:1",
      "::1:80",
      "a b:1",
      "h:1:2",
    ]) {
      expect([text, parseAddress(text)]).toEqual([text, undefined])
    }
  })

  it("is this machine's alone where nobody else can come to it", () => {
    for (const host of ["127.0.0.1", "127.9.9.9", "::1", "localhost"]) expect(isLoopback({ host, port: 1 })).toBe(true)
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "creche.example", "127.evil.example", "localhost.evil"]) {
      expect(isLoopback({ host, port: 1 })).toBe(false)
    }
  })
})
