import { afterEach, describe, expect, it } from "vitest"
import { sessionStatuses } from "../../src/domain/Session.ts"
import { transcriptTypes } from "../../src/domain/Transcript.ts"
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

  it("has the shape of each result and of each failure by name", async () => {
    const { send } = await serving()
    const { json } = await send("GET", "/openapi.json")
    const get = json.paths["/v1/sessions/{session}"].get
    expect(get.responses["200"].content["application/json"].schema).toEqual({ $ref: "#/components/schemas/Session" })
    expect(get.responses["404"].content["application/problem+json"].schema).toEqual({
      $ref: "#/components/schemas/SessionNotFound",
    })
    expect(json.components.schemas.SessionNotFound.properties.tag.enum).toEqual(["SessionNotFound"])
    const { Session, Entry } = json.components.schemas
    expect(Session.additionalProperties).toBe(false)
    expect(Session.properties.exit.anyOf).toContainEqual({ $ref: "#/components/schemas/Exit" })
    expect(Entry.anyOf).toHaveLength(transcriptTypes.length)
    const turns = json.paths["/v1/sessions/{session}/turns"].post.responses
    expect(Object.keys(turns["200"].content)).toEqual(["application/json", "text/event-stream"])
    expect(turns["202"].content["application/json"].schema).toEqual({ $ref: "#/components/schemas/Turn" })
    // Nobody is let in without a token by a document that forgot to say so.
    expect(json.security).toEqual([{ bearer: [] }])
    for (const verbs of Object.values<Record<string, any>>(json.paths))
      for (const { security } of Object.values(verbs)) expect(security).toEqual([{ bearer: [] }])
    const query = Object.fromEntries(json.paths["/v1/sessions"].get.parameters.map((each: any) => [each.name, each]))
    expect(query.limit.schema).toMatchObject({ type: "integer", minimum: 1, maximum: 1000 })
    expect(query.status).toMatchObject({
      schema: { type: "array", items: { enum: [...sessionStatuses] } },
      explode: false,
    })
    const ask = json.paths["/v1/sessions/{session}/turns"].post
    expect(ask.parameters.find((each: any) => each.name === "wait").schema).toEqual({ type: "boolean" })
    const start = json.paths["/v1/sessions"].post
    expect([start.requestBody.required, start.responses["201"]]).toEqual([false, expect.anything()])
  })

  it("has a reference for people that fetches nothing from elsewhere", async () => {
    const { send } = await serving({ tokens: { file: "/nonexistent/tokens.json", required: false } })
    const { status, text, headers } = await send("GET", "/docs")
    expect([status, headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"])
    const outside = text.slice(0, text.indexOf("<script>")) + text.slice(text.lastIndexOf("</script>"))
    expect(outside).not.toMatch(/https?:/)
    expect(text).not.toMatch(/<script[^>]+src=|<link[^>]+href=/)
    expect(headers.get("content-security-policy")).toContain("default-src 'none'")
    expect(headers.get("content-security-policy")).toContain("connect-src 'self'")
    expect(headers.get("content-security-policy")).not.toMatch(/https?:|\*/)
    expect(text).toContain("sessionAuthenticate")
  })

  it("and the page need no token, tell nothing of sessions, and are not sent twice", async () => {
    const { send, stub } = await serving({ tokens: { file: "/nonexistent/tokens.json", required: false } })
    stub.session({ name: "hidden-session" })
    for (const path of ["/openapi.json", "/docs", "/"]) {
      const first = await send("GET", path)
      expect(first.status).toBe(200)
      expect(first.text).not.toContain("hidden-session")
      expect((await send("GET", path, undefined, { "If-None-Match": first.headers.get("etag")! })).status).toBe(304)
    }
    expect((await send("GET", "/v1/sessions")).status).toBe(401)
  })
})
