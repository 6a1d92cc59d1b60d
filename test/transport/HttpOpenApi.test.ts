import { afterEach, describe, expect, it } from "vitest"
import { contract } from "../../src/transport/Contract.ts"
import { routes } from "../../src/transport/HttpRoutes.ts"
import { cleanUp, serving } from "./HttpFixture.ts"

afterEach(cleanUp)

describe("/openapi.json", () => {
  it("has every route once, with its parameters, its body and its problems", async () => {
    const { send } = await serving()
    const { json, headers } = await send("GET", "/openapi.json")
    expect(headers.get("content-type")).toBe("application/json")
    expect(json.openapi).toBe("3.1.0")
    const ids = new Set<string>()
    let operations = 0
    for (const [path, verbs] of Object.entries<Record<string, any>>(json.paths)) {
      const wanted = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      for (const operation of Object.values(verbs)) {
        operations++
        ids.add(operation.operationId)
        const named = (operation.parameters ?? []).map((each: any) => `${each.in} ${each.name}`)
        expect(new Set(named).size).toBe(named.length)
        for (const name of wanted) expect(named).toContain(`path ${name}`)
        for (const name of wanted)
          expect(Object.keys(operation.requestBody?.content["application/json"].schema.properties ?? {})).not.toContain(
            name,
          )
        expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(["400", "401", "403", "429", "500"]))
      }
    }
    const offered = routes.filter(({ method }) => Object.hasOwn(contract, method))
    expect([operations, ids.size]).toEqual([offered.length, offered.length])
    const refs = [...JSON.stringify(json).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, at]) => at!)
    for (const at of refs) expect(at.split("/").reduce((node: any, key) => node?.[key], json)).toBeDefined()
    const start = json.paths["/v1/sessions"].post.requestBody.content["application/json"].schema
    expect(start).toMatchObject({ type: "object", additionalProperties: false })
    expect(Object.keys(start.properties)).toEqual(expect.arrayContaining(["name", "command", "protocol", "ifExists"]))
    expect(
      json.paths["/v1/sessions/{session}/turns"].post.requestBody.content["application/json"].schema.required,
    ).toEqual(["prompt"])
  })

  it("and the page need no token, tell nothing of sessions, and are not sent twice", async () => {
    const { send, stub } = await serving({ tokens: { file: "/nonexistent/tokens.json", required: false } })
    stub.session({ name: "hidden-session" })
    for (const path of ["/openapi.json", "/"]) {
      const first = await send("GET", path)
      expect(first.status).toBe(200)
      expect(first.text).not.toContain("hidden-session")
      expect((await send("GET", path, undefined, { "If-None-Match": first.headers.get("etag")! })).status).toBe(304)
    }
    expect((await send("GET", "/v1/sessions")).status).toBe(401)
  })
})
