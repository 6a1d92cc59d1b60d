import * as Effect from "effect/Effect"
import { afterEach, describe, expect, it } from "vitest"
import type { RuntimeHealth } from "../../src/supervisor/Runtime.ts"
import { bearer, cleanUp, serving, tokenFile } from "./HttpFixture.ts"
import { makeStub } from "./StubRuntime.ts"

afterEach(cleanUp)

const healthy: RuntimeHealth = { status: "ok", live: true, ready: true, problems: [] }

const servingWith = async (health: () => RuntimeHealth) => {
  const stub = makeStub()
  Object.assign(stub.service, { health: Effect.sync(health) })
  const { file, tokens } = tokenFile(
    { name: "reader", scopes: ["read"] },
    { name: "asker", scopes: ["prompt"] },
    { name: "confined", scopes: ["read"], confinement: { tags: { team: "a" } } },
  )
  const { send, logs } = await serving({ tokens: { file, required: true } }, stub)
  return { send, logs, tokens }
}

describe("probes", () => {
  it("answer without a token, in one word, and are not logged as refused", async () => {
    let health = healthy
    const { send, logs } = await servingWith(() => health)
    const cases: ReadonlyArray<readonly [RuntimeHealth, number, string]> = [
      [healthy, 200, "ok\n"],
      [{ ...healthy, status: "degraded", problems: ["session secret is failed"] }, 200, "ok\n"],
      [{ ...healthy, status: "starting", ready: false }, 503, "starting\n"],
      [{ ...healthy, status: "draining", ready: false }, 503, "draining\n"],
      [{ ...healthy, status: "degraded", ready: false, problems: ["secret"] }, 503, "unavailable\n"],
    ]
    for (const [each, status, text] of cases) {
      health = each
      expect(await send("GET", "/readyz")).toMatchObject({ status, text })
      expect(await send("GET", "/livez")).toMatchObject({ status: 200, text: "ok\n" })
      expect(await send("HEAD", "/readyz")).toMatchObject({ status, text: "" })
    }
    expect(logs).toEqual([])
    expect((await send("GET", "/v1/health")).status).toBe(401)
  })

  it("are asked, not told", async () => {
    const { send } = await servingWith(() => healthy)
    for (const path of ["/livez", "/readyz"]) {
      const { status, headers } = await send("POST", path, {})
      expect([status, headers.get("allow")]).toEqual([405, "GET, HEAD"])
    }
  })

  it("check the Host header like everything else", async () => {
    const stub = makeStub()
    const { raw } = await serving({}, stub)
    const { socket, until } = await raw()
    socket.write("GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    expect(await until("an answer", (text) => text.includes("\r\n\r\n"))).toMatch(/^HTTP\/1\.1 403 /)
  })
})

describe("GET /metrics", () => {
  it("is for the scope read alone, and not for a confined token", async () => {
    const { send, tokens } = await servingWith(() => healthy)
    expect((await send("GET", "/metrics")).status).toBe(401)
    expect((await send("GET", "/metrics", undefined, bearer(tokens["asker"]))).status).toBe(403)
    expect((await send("GET", "/metrics", undefined, bearer(tokens["confined"]))).status).toBe(403)
    const { status, headers } = await send("GET", "/metrics", undefined, bearer(tokens["reader"]))
    expect([status, headers.get("content-type")]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"])
  })
})
