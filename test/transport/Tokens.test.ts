import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { afterEach, describe, expect, it } from "vitest"
import { SessionAlreadyExists } from "../../src/domain/Errors.ts"
import { methods, notOffered } from "../../src/transport/Contract.ts"
import * as Http from "../../src/transport/Http.ts"
import { needs } from "../../src/transport/HttpAccess.ts"
import { type Bucket, full, take } from "../../src/transport/HttpRate.ts"
import { routes } from "../../src/transport/HttpRoutes.ts"
import {
  changeTokens,
  isPrivate,
  makeToken,
  type NewToken,
  readTokens,
  TokenFile,
  TokenFileWrong,
  type TokenRecord,
} from "../../src/transport/Tokens.ts"
import { deadline } from "./Client.ts"
import { bearer, cleanUp, serving, sse, temporary, tokenFile } from "./HttpFixture.ts"
import { makeStub } from "./StubRuntime.ts"

afterEach(cleanUp)

const whyOf = (found: TokenRecord | { readonly why: string }) => ("why" in found ? found.why : `let in ${found.name}`)

describe("the token file", () => {
  it("holds hashes alone, and is its owner's alone", () => {
    const { file, tokens } = tokenFile({ name: "t", scopes: ["read"] })
    const secret = tokens["t"]!.split("_")[2]!
    expect(secret).toMatch(/^[0-9a-f]{64}$/)
    expect(fs.readFileSync(file, "utf8")).not.toContain(secret)
    expect(fs.statSync(file).mode & 0o777).toBe(0o600)
    expect(fs.readdirSync(path.dirname(file))).toEqual(["tokens.json"])
  })

  it("lets in who has the secret, and nobody else", () => {
    const { file, tokens } = tokenFile({ name: "a", scopes: ["read"] }, { name: "b", scopes: ["read"] })
    const known = new TokenFile(file)
    const [a, b] = [tokens["a"]!, tokens["b"]!]
    const [prefix, idA, secretA] = a.split("_")
    expect(whyOf(known.authenticate(a, 0))).toBe("let in a")
    expect(whyOf(known.authenticate(b, 0))).toBe("let in b")
    const [, idB] = b.split("_")
    const hash = readTokens(file)[0]!.hash
    for (const wrong of [
      "",
      " ",
      `${a} `,
      `${a}0`,
      a.slice(0, -1),
      a.toUpperCase(),
      `${prefix}_${idB}_${secretA}`,
      `${prefix}_${idA}_${"0".repeat(64)}`,
      `${prefix}_${idA}_${hash}`,
      `${prefix}_${"0".repeat(12)}_${secretA}`,
      `${prefix}__proto___${secretA}`,
    ]) {
      const why = whyOf(known.authenticate(wrong, 0))
      expect(why).not.toMatch(/^let in/)
      expect(why).not.toContain(secretA)
    }
  })

  it("is heeded as it is now: what was added counts, what was revoked or has expired does not", () => {
    const { file, tokens } = tokenFile({ name: "a", scopes: ["read"] })
    const known = new TokenFile(file)
    const record = known.authenticate(tokens["a"]!, 0) as TokenRecord
    const later = makeToken({ name: "b", scopes: ["read"], expiresInMs: 1000 }, 5000)
    changeTokens(file, (all) => [...all, later.record])
    expect(whyOf(known.authenticate(later.token, 5999))).toBe("let in b")
    expect(whyOf(known.authenticate(later.token, 6000))).toContain("expired")
    expect(known.isCurrent(record, 0)).toBe(true)
    changeTokens(file, (all) => all.filter(({ name }) => name !== "a"))
    known.look()
    expect(known.isCurrent(record, 0)).toBe(false)
    expect(whyOf(known.authenticate(tokens["a"]!, 0))).toContain("no token has the id")
  })

  it("lets nobody in once it is wrong, gone, or open to others", () => {
    const { file, tokens } = tokenFile({ name: "a", scopes: ["admin"] })
    const known = new TokenFile(file)
    const good = fs.readFileSync(file, "utf8")
    expect(whyOf(known.authenticate(tokens["a"]!, 0))).toBe("let in a")
    for (const spoil of [
      () => fs.writeFileSync(file, "{"),
      () => fs.writeFileSync(file, good.replace('"admin"', '"everything"')),
      () => fs.writeFileSync(file, good.replace('"version": 1', '"version": 2')),
      () => fs.chmodSync(file, 0o644),
      () => fs.rmSync(file),
      () => (fs.rmSync(file), fs.symlinkSync(file, file)),
      () => (fs.rmSync(file), fs.mkdirSync(file)),
      () => (fs.rmSync(file), execFileSync("mkfifo", ["-m", "600", file])),
    ]) {
      spoil()
      expect(whyOf(known.authenticate(tokens["a"]!, 0))).not.toMatch(/^let in/)
      expect(whyOf(known.authenticate(tokens["a"]!, 0))).not.toMatch(/^let in/)
      fs.rmSync(file, { force: true, recursive: true })
      fs.writeFileSync(file, good, { mode: 0o600 })
      expect(whyOf(known.authenticate(tokens["a"]!, 0))).toBe("let in a")
    }
    fs.writeFileSync(file, good.replace('"admin"', '"s3cr3t"'))
    expect(() => readTokens(file)).toThrow(TokenFileWrong)
    expect(() => readTokens(file)).not.toThrow(/s3cr3t/)
  })

  it("is its owner's alone, or root's and handed to a group to be read", () => {
    for (const mode of [0o600, 0o400]) for (const uid of [0, 7]) expect(isPrivate({ mode, uid }, 7)).toBe(true)
    for (const mode of [0o440, 0o640]) {
      expect(isPrivate({ mode, uid: 0 }, 7)).toBe(true)
      for (const [uid, own] of [
        [0, 0],
        [7, 7],
        [8, 7],
      ] as const) {
        expect(isPrivate({ mode, uid }, own)).toBe(false)
      }
    }
    for (const mode of [0o444, 0o644, 0o660, 0o450, 0o602]) expect(isPrivate({ mode, uid: 0 }, 7)).toBe(false)
  })

  it("is changed by one at a time, and stays as it was where a change fails", () => {
    const { file } = tokenFile({ name: "a", scopes: ["read"] })
    const before = fs.readFileSync(file, "utf8")
    expect(() =>
      changeTokens(file, () => {
        expect(() => changeTokens(file, () => [])).toThrow("is being changed")
        throw new Error("no")
      }),
    ).toThrow("no")
    expect(fs.readFileSync(file, "utf8")).toBe(before)
    // What could not be read again is not written.
    const [first] = readTokens(file)
    for (const wrong of [{ name: "" }, { id: "x" }, { confinement: { supervisor: "" } }, { perSecond: 0 }]) {
      expect(() => changeTokens(file, () => [{ ...first!, ...wrong }])).toThrow("stays as it is")
    }
    expect(fs.readFileSync(file, "utf8")).toBe(before)
    expect(fs.readdirSync(path.dirname(file))).toEqual(["tokens.json"])
    changeTokens(file, () => [])
    expect(readTokens(file)).toEqual([])
  })
})

describe("beyond this machine", () => {
  const attempt = (options: Http.HttpOptions) =>
    Effect.runPromise(
      Effect.exit(Effect.scoped(Effect.as(Http.serve(options), "served"))).pipe(Effect.provide(makeStub().layer)),
    )
  it("nothing is served without a token file that was asked for and has tokens", async () => {
    const address = { host: "0.0.0.0", port: 0 }
    const empty = path.join(temporary(), "tokens.json")
    const { file } = tokenFile({ name: "a", scopes: ["read"] })
    for (const tokens of [null, { file, required: false }, { file: empty, required: true }]) {
      const exit = await attempt({ address, tokens })
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("HTTP is not served on http://0.0.0.0:0")
    }
    expect(await attempt({ address, tokens: { file, required: true } })).toEqual(Exit.succeed("served"))
    expect(await attempt({ address: { host: "127.0.0.1", port: 0 }, tokens: null })).toEqual(Exit.succeed("served"))
  })
})

const withTokens = async (...wanted: ReadonlyArray<NewToken>) => {
  const { file, tokens } = tokenFile(...wanted)
  const serves = await serving({ tokens: { file, required: true }, heartbeatMs: 40 })
  const as = (name: string) => (method: string, at: string, body?: unknown) =>
    serves.send(method, at, body, bearer(tokens[name]))
  return { ...serves, file, tokens, as }
}

describe("scopes", () => {
  it("are asked for by every method", () => {
    expect(Object.keys(needs).toSorted()).toEqual([...methods, ...notOffered].toSorted())
  })

  it("let through what they are for, on every route, and nothing else", async () => {
    const scopes = ["read", "prompt", "approve", "admin"] as const
    const { as, send, stub } = await withTokens(...scopes.map((scope) => ({ name: scope, scopes: [scope] })))
    stub.session({ name: "a" })
    for (const { verb, path: at, method, kind } of routes) {
      if (method === "runtime/shutdown" || kind === "events") continue
      const real = at.replace(/\{\w+\}/, "none")
      const body = verb === "POST" || verb === "PUT" ? {} : undefined
      expect((await send(verb, real, body)).status).toBe(401)
      for (const scope of scopes) {
        const needed = needs[method].scope
        const { status } = await as(scope)(verb, real, body)
        const through = scope === "admin" || scope === needed
        expect([method, scope, status === 403]).toEqual([method, scope, !through])
      }
    }
    expect((await as("prompt")("GET", "/v1/sessions/a/events")).status).toBe(403)
    expect((await as("prompt")("POST", "/v1/sessions/a/turns?wait=true", { prompt: "x" })).status).toBe(200)
    expect((await as("read")("POST", "/v1/sessions/a/turns?stream=true", { prompt: "x" })).status).toBe(403)
  })
})

describe("a confined token", () => {
  const confined = { name: "c", scopes: ["admin"], confinement: { tags: { team: "a" } } } as const
  const two = async () => {
    const world = await withTokens(confined, { name: "all", scopes: ["admin"] })
    const mine = world.stub.session({ name: "mine", tags: { team: "a" } })
    const other = world.stub.session({ name: "other", tags: { team: "b" } })
    return { ...world, mine, other }
  }

  it("finds no other session, on any route", async () => {
    const { as, other, stub } = await two()
    const turn = await as("all")("POST", "/v1/sessions/other/turns", { prompt: "hang" })
    for (const { verb, path: at, method } of routes.filter(({ path: at }) => /\{(session|turn)\}/.test(at))) {
      if (needs[method].whole === true) continue
      const body: Record<string, unknown> | undefined = verb === "POST" ? {} : undefined
      if (method === "session/tell") body!["prompt"] = "x"
      if (method === "session/answer") Object.assign(body!, { request: "r", outcome: "deny" })
      if (method === "session/write") body!["data"] = "x"
      if (method === "session/resize") Object.assign(body!, { cols: 80, rows: 24 })
      if (method === "session/signal") body!["signal"] = "SIGINT"
      if (method === "session/extend") body!["expiresInMs"] = null
      for (const name of ["other", other.id]) {
        const { status, text } = await as("c")(
          verb,
          at.replace("{session}", name).replace("{turn}", turn.json.id),
          body,
        )
        expect([method, status]).toEqual([method, 404])
        expect(text).not.toContain("team")
      }
    }
    expect(stub.written).toEqual([])
    expect(stub.turns()).toHaveLength(1)
  })

  it("lists, finds and hears of its own alone", async () => {
    const { as, url, tokens } = await two()
    for (const name of ["mine", "other"]) {
      await as("all")("POST", `/v1/sessions/${name}/turns?wait=true`, { prompt: "word" })
    }
    const names = async (query: string) =>
      (await as("c")("GET", `/v1/sessions${query}`)).json.sessions.map(({ name }: { name: string }) => name)
    expect(await names("")).toEqual(["mine"])
    expect(await names("?tag=team=b")).toEqual([])
    const { json } = await as("c")("GET", "/v1/search?query=word")
    expect(json.hits).toHaveLength(1)
    expect((await as("c")("GET", "/v1/sessions/mine/turns")).json.turns).toHaveLength(1)
    const events = await sse(`${url}/v1/sessions/mine/events?after=0`, bearer(tokens["c"]))
    await events.until("its entries", (all) => all.length === 3)
  })

  it("starts sessions that are its own, and no others", async () => {
    const { as, other } = await two()
    const started = await as("c")("POST", "/v1/sessions", { name: "n", command: "cat", tags: { x: "y" } })
    expect(started.json.spec.tags).toEqual({ x: "y", team: "a" })
    expect((await as("c")("POST", "/v1/sessions", { name: "m", command: "cat", tags: { team: "b" } })).status).toBe(403)
    const taken = await as("c")("POST", "/v1/sessions", { name: "other", ifExists: "return", command: "cat" })
    expect([taken.status, taken.json.tag]).toEqual([409, "SessionAlreadyExists"])
    Object.assign(other.spec, { task: "job" })
    const done = await as("c")("POST", "/v1/sessions", { task: "job", ifExists: "return", command: "cat" })
    expect([done.status, done.json.data]).toMatchObject([409, { session: "job", field: "task" }])
    expect(done.text).not.toContain(other.id)
  })

  it("hears of no other session by the conversation that it goes on with", async () => {
    const { as, stub, file } = await two()
    const { start } = stub.service
    for (const [taker, status] of [
      ["other", 403],
      ["mine", 409],
    ] as const) {
      const taken = new SessionAlreadyExists({ session: taker, field: "protocol.resume" })
      Object.assign(stub.service, { start: () => Effect.fail(taken) })
      // What a token may do is put together when it first comes.
      changeTokens(file, (all) => all.map((each) => (each.name === "c" ? { ...each, perSecond: status } : each)))
      const protocol = { type: "claude", resume: "it" }
      const answer = await as("c")("POST", "/v1/sessions", { name: "n", protocol })
      expect(answer.status).toBe(status)
      expect(answer.text.includes(taker)).toBe(taker === "mine")
    }
    Object.assign(stub.service, { start })
  })

  it("has no say about the runtime as a whole", async () => {
    const { as, stub } = await two()
    for (const [verb, at] of [
      ["POST", "/v1/shutdown"],
      ["GET", "/v1/stats"],
      ["GET", "/v1/tree"],
      ["PUT", "/v1/templates/x"],
      ["DELETE", "/v1/templates/x"],
    ] as const) {
      expect([at, (await as("c")(verb, at, verb === "GET" || verb === "DELETE" ? undefined : {})).status]).toEqual([
        at,
        403,
      ])
    }
    expect(stub.shutdowns).toEqual([])
  })

  it("to a supervisor has what is below it, by whole parts of the path", async () => {
    const { as, stub } = await withTokens({ name: "c", scopes: ["read"], confinement: { supervisor: "root/a" } })
    for (const supervisor of ["root", "root/a", "root/a/b", "root/ab"]) {
      const session = stub.session({ name: supervisor.replaceAll("/", "-") })
      Object.assign(session, { supervisor })
    }
    const { json } = await as("c")("GET", "/v1/sessions")
    expect(json.sessions.map(({ supervisor }: { supervisor: string }) => supervisor)).toEqual(["root/a", "root/a/b"])
  })
})

describe("a token", () => {
  it("may ask so often a second and no more, whatever others do", async () => {
    const { as } = await withTokens(
      { name: "slow", scopes: ["read"], perSecond: 1 },
      { name: "other", scopes: ["read"] },
    )
    const statuses = []
    for (let n = 0; n < 10; n++) statuses.push((await as("slow")("GET", "/v1/info")).status)
    expect(statuses.slice(0, 2)).toEqual([200, 200])
    expect(statuses).toContain(429)
    expect((await as("other")("GET", "/v1/info")).status).toBe(200)
    const rate = { perSecond: 2, burst: 4 }
    let bucket: Bucket | undefined = full(rate, 0)
    for (let n = 0; n < 4; n++) bucket = take(bucket!, rate, 0)
    expect(take(bucket!, rate, 499)).toBeUndefined()
    expect(take(bucket!, rate, 500)).toBeDefined()
    expect(take(bucket!, rate, -100_000)).toBeUndefined()
    expect(take(bucket!, rate, 1e9)!.tokens).toBe(3)
  })

  it("that is revoked ends the streams it opened", async () => {
    const { url, stub, file, tokens, connections } = await withTokens({ name: "t", scopes: ["read"] })
    stub.session({ name: "a" })
    const client = await sse(`${url}/v1/sessions/a/events`, bearer(tokens["t"]))
    await deadline("it is there", () => connections().streams === 1)
    changeTokens(file, () => [])
    await client.ended
    expect(client.events()).toMatchObject([{ event: "closing", data: { tag: "Unauthorized" } }])
  })

  it("that is revoked hears no answer that it waited for, and the turn goes on", async () => {
    const { stub, file, as, connections } = await withTokens(
      { name: "t", scopes: ["admin"] },
      { name: "other", scopes: ["read"] },
    )
    stub.session({ name: "a" })
    const told = await as("t")("POST", "/v1/sessions/a/turns", { prompt: "hang" })
    const waits = [
      as("t")("POST", "/v1/sessions/a/turns?wait=true", { prompt: "hang" }),
      as("t")("POST", "/v1/sessions/a/turns?stream=true", { prompt: "hang" }),
      as("t")("GET", `/v1/turns/${told.json.id}/wait`),
    ]
    await deadline("they wait", () => stub.turns().length === 3 && connections().pending === 3)
    changeTokens(file, (all) => all.filter(({ name }) => name === "other"))
    const [ask, stream, wait] = await Promise.all(waits)
    for (const answer of [ask!, wait!]) {
      expect([answer.status, answer.json.tag, answer.json.detail]).toEqual([
        401,
        "Unauthorized",
        "the token is not valid any more",
      ])
    }
    expect(stream!.text).toContain("the token is not valid any more")
    await deadline("nobody waits", () => stub.asks.waiting === 0 && connections().pending === 0)
    for (const turn of stub.turns()) {
      expect((await as("other")("GET", `/v1/turns/${turn}`)).json.status).not.toBe("cancelled")
    }
  })

  it("is in no log, no answer and no error, wherever it was written", async () => {
    const { send, raw, logs, tokens, stub } = await withTokens({ name: "t", scopes: ["admin"] })
    stub.session({ name: "a" })
    const token = tokens["t"]!
    const secret = token.split("_")[2]!
    const wrong = `${token.slice(0, -1)}${token.endsWith("0") ? "1" : "0"}`
    const texts: Array<string> = []
    const note = async (answer: Promise<{ readonly text: string }>) => void texts.push((await answer).text)
    await note(send("GET", "/v1/info", undefined, bearer(wrong)))
    await note(send("GET", "/v1/info", undefined, { Authorization: `Basic ${token}` }))
    await note(send("GET", "/v1/info", undefined, { Authorization: token }))
    await note(send("GET", `/v1/info?token=${token}`))
    await note(send("GET", `/v1/info?${token}=1`, undefined, bearer(`${token}x`)))
    await note(send("GET", `/v1/sessions/a`, undefined, bearer(token)))
    await note(send("POST", "/v1/sessions/a/turns?wait=true", { prompt: "die" }, bearer(token)))
    await note(send("POST", "/v1/sessions/a/turns", `{"prompt":${token}`, bearer(token)))
    await note(send("POST", "/v1/sessions/a/turns", { token, prompt: 1 }, bearer(token)))
    const { socket, until, closed } = await raw()
    socket.write(`GET /v1/info HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\u0001\r\n\r\n`)
    texts.push(await until("it is refused", (text) => text.includes("}")))
    await closed
    const part = secret.slice(0, 16)
    expect(logs.length).toBeGreaterThan(2)
    expect(logs.join("\n")).not.toContain(part)
    expect(texts.join("\n")).not.toContain(part)
  })

  it("that fails again and again does not fill the log", async () => {
    const { send, logs } = await withTokens({ name: "t", scopes: ["read"] })
    for (let n = 0; n < 200; n++) expect((await send("GET", "/v1/info", undefined, bearer("no"))).status).toBe(401)
    expect(logs.length).toBeLessThan(60)
  })
})
