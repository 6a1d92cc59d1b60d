/** The HttpApi says what the server does: Effect's own client, made from it, gets what it declares, and nothing that the server takes is refused by it. */
import * as fc from "fast-check"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import { afterEach, describe, expect, it } from "vitest"
import { contract } from "../../src/transport/Contract.ts"
import { endpointId, httpApi, servedRoutes } from "../../src/transport/HttpContract.ts"
import { InvalidParams } from "../../src/domain/Errors.ts"
import { gather } from "../../src/transport/HttpParams.ts"
import { routes } from "../../src/transport/HttpRoutes.ts"
import { decoders } from "../../src/transport/Params.ts"
import { seed } from "../support/Property.ts"
import { cleanUp, serving } from "./HttpFixture.ts"

afterEach(cleanUp)

/** Group, endpoint, what is sent; its types are those of any endpoint. */
const clientOf = async (url: string) => {
  const make = HttpApiClient.make(httpApi, { baseUrl: url }).pipe(Effect.provide(FetchHttpClient.layer))
  const client = (await Effect.runPromise(make)) as unknown as Record<
    string,
    Record<string, (request: object) => Effect.Effect<any, any>>
  >
  const call = (group: string, endpoint: string, request: object) => client[group]![endpoint]!(request)
  return {
    call: (group: string, endpoint: string, request: object = {}): Promise<any> =>
      Effect.runPromise(call(group, endpoint, request)),
    failure: (group: string, endpoint: string, request: object): Promise<any> =>
      Effect.runPromise(Effect.flip(call(group, endpoint, request))),
  }
}

describe("the HttpApi", () => {
  it("has an endpoint for each route whose method there is", () => {
    const ids = Object.values(httpApi.groups).flatMap((group: any) => Object.keys(group.endpoints))
    expect(ids.toSorted()).toEqual(servedRoutes.map(endpointId).toSorted())
    expect(servedRoutes.length).toBe(routes.filter(({ method }) => Object.hasOwn(contract, method)).length)
  })

  it("makes a client that starts, asks, lists, reads and removes, each answer as it is declared", async () => {
    const { url } = await serving()
    const { call } = await clientOf(url)
    const started = await call("session", "sessionStart", { payload: { name: "a", command: "cat", tags: { x: "y" } } })
    expect(started).toMatchObject({ name: "a", status: "ready", spec: { tags: { x: "y" } } })
    const params = { session: "a" }
    const payload = { prompt: "hello" }
    const told = await call("session", "sessionTell", { params, query: {}, headers: {}, payload })
    const asked = await call("session", "sessionTell", { params, query: { wait: "true" }, headers: {}, payload })
    expect([told.text, asked.status, asked.text]).toEqual([expect.any(String), "completed", "echo hello"])
    const again = { "idempotency-key": "k" }
    const ask = { params, query: { wait: "true" }, headers: again, payload }
    expect((await call("session", "sessionTell", ask)).idempotencyKey).toBe("k")
    const query = { status: ["ready"], tag: ["x=y"], limit: 5 }
    expect((await call("session", "sessionList", { query })).sessions).toHaveLength(1)
    const page = await call("session", "sessionTranscript", { params, query: { after: 1, limit: 3 } })
    expect(page.entries.map(({ seq }: { readonly seq: number }) => seq)).toEqual([2, 3, 4])
    expect((await call("turn", "turnGet", { params: { turn: asked.id } })).id).toBe(asked.id)
    for (const endpoint of ["runtimeInfo", "runtimeStats", "runtimeHealth", "runtimeTree", "runtimeMetrics"])
      await call("runtime", endpoint)
    expect(await call("session", "sessionRemove", { params })).toBeUndefined()
  })

  it("declares failures by tag, with the status of each", async () => {
    const { url } = await serving()
    const { failure } = await clientOf(url)
    expect(await failure("session", "sessionGet", { params: { session: "none" } })).toMatchObject({
      tag: "SessionNotFound",
      status: 404,
      data: { tag: "SessionNotFound", session: "none" },
    })
    const payload = { name: "a", command: "cat" }
    const { call } = await clientOf(url)
    await call("session", "sessionStart", { payload })
    const again = await failure("session", "sessionStart", { payload })
    expect(again).toMatchObject({ tag: "SessionAlreadyExists", status: 409 })
  })
})

describe(`queries of all kinds (seed ${seed})`, () => {
  const values = fc.oneof(
    fc.constantFrom(
      "true",
      "false",
      "",
      "1",
      "0",
      "-1",
      "1e3",
      "007",
      "ready",
      "ready,busy",
      "a=b",
      "=",
      ",",
      "9".repeat(15),
    ),
    fc.string({ maxLength: 12 }),
  )
  const requests = servedRoutes
    .filter(({ verb, kind, path }) => verb === "GET" && kind === undefined && !path.endsWith("/wait"))
    .map((route) => ({ route, path: route.path.replace(/\{\w+\}/g, "a") }))

  it("are answered as the contract decodes them, whatever HttpApi makes of them", async () => {
    const { send, stub } = await serving()
    stub.session({ name: "a" })
    const given = fc.record({
      at: fc.constantFrom(...requests),
      names: fc.array(fc.tuple(fc.nat(), values), { maxLength: 4 }),
    })
    const property = fc.asyncProperty(given, async ({ at: { route, path }, names }) => {
      const known = [...Object.keys(route.query), "other"]
      const query = new URLSearchParams(names.map(([n, value]): [string, string] => [known[n % known.length]!, value]))
      const gathered = gather(route, {
        path: Object.fromEntries([...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name!, "a"])),
        query,
        body: {},
        idempotencyKey: undefined,
        lastEventId: undefined,
      })
      const isWrong = gathered.issues.length > 0 || decoders[route.method](gathered.params) instanceof InvalidParams
      const { status, json } = await send("GET", `${path}?${query}`)
      if (isWrong) expect([status, json.tag]).toEqual([400, "InvalidParams"])
      else expect(json?.tag).not.toBe("InvalidParams")
    })
    await fc.assert(property, { seed, numRuns: 300 })
  })
})
