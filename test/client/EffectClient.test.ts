import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import * as Creche from "../../src/client/EffectClient.ts"
import { errorCodes } from "../../src/transport/ErrorCodes.ts"
import { CrecheError } from "../../src/client/CrecheError.ts"
import { failureOf } from "../../src/client/CrecheFailure.ts"
import { eventually } from "../acceptance/Processes.ts"
import { freePort, ServedRuntime } from "../acceptance/ServedRuntime.ts"

let directory = ""
let runtime: ServedRuntime
let port = 0
const up = async () => {
  runtime = new ServedRuntime(join(directory, "d"), ["--http", `127.0.0.1:${port}`, "--no-auth"], {
    socket: join(directory, "s"),
  })
  await runtime.listening()
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "creche-effect-"))
  port = await freePort()
  await up()
})
afterAll(async () => {
  await runtime.kill("SIGTERM")
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const ways = ["unix socket", "WebSocket"] as const
const optionsOf = (way: (typeof ways)[number]): Creche.ConnectOptions =>
  way === "WebSocket" ? { url: `http://127.0.0.1:${port}` } : { socket: join(directory, "s") }

let names = 0
const demo = (creche: Creche.CrecheClient, spec: object = {}) =>
  Effect.map(creche.start({ name: `demo-${++names}`, template: "demo", ...spec }), ({ name }) => creche.session(name))
const waiting = (what: string, holds: () => Promise<boolean>) => Effect.promise(() => eventually(what, holds))

describe.each(ways)("the client for Effect over a %s", (way) => {
  const connected = <A, E>(use: (creche: Creche.CrecheClient) => Effect.Effect<A, E>): Effect.Effect<A, unknown> =>
    Creche.Creche.pipe(Effect.flatMap(use), Effect.provide(Creche.layer(optionsOf(way))))

  it.live("asks, tells, reads and removes", () =>
    connected((creche) =>
      Effect.gen(function* () {
        const session = yield* demo(creche)
        expect((yield* session.ask("/echo hello")).text).toBe("hello")
        const told = yield* session.tell("/echo later")
        expect((yield* creche.request("turn/wait", { turn: told.id })).text).toBe("later")
        const prompts = yield* Stream.runCollect(Stream.map(session.history({ pageSize: 1 }), ({ prompt }) => prompt))
        expect(prompts).toEqual(["/echo later", "/echo hello"])
        const seqs = yield* Stream.runCollect(Stream.map(session.transcript({ pageSize: 3 }), ({ seq }) => seq))
        const { seq } = yield* session.get
        expect(seqs).toEqual(Array.from({ length: seq }, (_, at) => at + 1))
        expect(
          yield* Stream.runCollect(Stream.filter(creche.sessions(), ({ name }) => name === session.name)),
        ).toHaveLength(1)
        expect((yield* creche.search({ query: "hello", session: session.name }))[0]!.turn.text).toBe("hello")
        yield* session.remove
        const gone = yield* Effect.flip(session.get)
        expect(gone._tag).toBe("SessionNotFound")
      }),
    ),
  )

  it.live("fails with the runtime's tags and their fields", () =>
    connected((creche) =>
      Effect.gen(function* () {
        const found = yield* creche.session("nobody").get.pipe(
          Effect.map(() => "found"),
          Effect.catchTag("SessionNotFound", (error) => Effect.succeed(`${error.session} ${error.code}`)),
        )
        expect(found).toBe("nobody -32001")
        const wrong = yield* Effect.flip(creche.start({ command: "cat", restart: "often" as never }))
        if (wrong._tag !== "InvalidParams") throw wrong
        expect(wrong.issues[0]!.path).toBe("restart")
        expect(wrong.message).toContain("restart")
      }),
    ),
  )

  it.live("streams a turn, and gives its request up when nobody reads on", () =>
    connected((creche) =>
      Effect.gen(function* () {
        const session = yield* demo(creche)
        const entries = yield* Stream.runCollect(session.stream("/stream 5 word"))
        expect(entries.at(-1)).toMatchObject({ type: "turn/ended", text: "word word word word word" })
        const first = yield* session.stream("/stream 80 word").pipe(
          Stream.filter(({ type }) => type === "turn/delta"),
          Stream.take(1),
          Stream.runCollect,
        )
        expect(first).toHaveLength(1)
        // The turn goes on all the same.
        const [turn] = yield* Stream.runCollect(Stream.take(session.history(), 1))
        expect((yield* creche.request("turn/wait", { turn: turn!.id })).status).toBe("completed")
      }),
    ),
  )

  it.live("gives a request up that is interrupted, and the turn goes on", () =>
    connected((creche) =>
      Effect.gen(function* () {
        const session = yield* demo(creche)
        const asking = yield* Effect.forkChild(session.ask("/slow 500 said"))
        const turns = () => Effect.runPromise(Stream.runCollect(session.history()))
        yield* waiting("it runs", async () => (await turns())[0]?.status === "running")
        yield* Fiber.interrupt(asking)
        const [turn] = yield* Effect.promise(turns)
        expect((yield* creche.request("turn/wait", { turn: turn!.id })).text).toBe("said")
      }),
    ),
  )

  it.live("follows a session until it is removed, and ends the subscription with the stream", () =>
    connected((creche) =>
      Effect.gen(function* () {
        const session = yield* demo(creche)
        const following = yield* Effect.forkChild(Stream.runCollect(session.subscribe({ after: 0 })))
        yield* session.ask("/echo x")
        const { seq } = yield* session.get
        const some = yield* Stream.runCollect(Stream.take(session.subscribe({ after: 0 }), seq))
        expect(some.map((event) => "entry" in event && event.entry.seq)).toEqual(
          Array.from({ length: seq }, (_, at) => at + 1),
        )
        // One that has seen all there is, and waits, is interrupted at once.
        let seen = 0
        const idle = yield* session.subscribe({ after: seq - 1 }).pipe(
          Stream.runForEach(() => Effect.sync(() => seen++)),
          Effect.forkChild,
        )
        yield* waiting("it has seen it", async () => seen === 1)
        yield* Fiber.interrupt(idle)
        yield* session.remove
        const all = yield* Fiber.join(following)
        expect(all.slice(0, seq)).toEqual(some)
      }),
    ),
  )

  it.live("goes on after the runtime was killed, each entry once", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const creche = yield* Creche.make({ ...optionsOf(way), reconnect: { initialMs: 5, maxMs: 50 } })
        const session = yield* demo(creche)
        yield* session.ask("/stream 5 before")
        const seen: Array<number> = []
        const following = yield* session.subscribe({ after: 0 }).pipe(
          Stream.runForEach((event) => Effect.sync(() => seen.push("entry" in event ? event.entry.seq : -1))),
          Effect.forkChild,
        )
        yield* Effect.promise(() => runtime.kill())
        yield* Effect.promise(up)
        yield* session.ask("/stream 5 after")
        const { seq } = yield* session.get
        yield* waiting("all is there", async () => seen.at(-1) === seq)
        expect(seen).toEqual(Array.from({ length: seq }, (_, at) => at + 1))
        yield* Fiber.interrupt(following)
      }),
    ),
  )

  it.live("fails what follows when the connection is lost for good", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const creche = yield* Creche.make(optionsOf(way))
        const session = yield* demo(creche)
        let seen = 0
        const following = yield* session.subscribe({ after: 0 }).pipe(
          Stream.runForEach(() => Effect.sync(() => seen++)),
          Effect.exit,
          Effect.forkChild,
        )
        yield* waiting("it follows", async () => seen > 0)
        yield* Effect.promise(() => runtime.kill())
        const exit = yield* Fiber.join(following)
        expect(Exit.isFailure(exit)).toBe(true)
        expect(yield* Effect.flip(session.get)).toMatchObject({ _tag: "ConnectionLost" })
        yield* Effect.promise(up)
      }),
    ),
  )
})

describe("a failure of the client for Effect", () => {
  it("has the fields of its tag, and every tag of the contract is known", () => {
    for (const tag of Object.keys(errorCodes))
      expect(failureOf(new CrecheError(-1, "words", { tag, session: "a" }))).toMatchObject({ _tag: tag, session: "a" })
    expect(failureOf(new CrecheError(-1, "words", { tag: "Newer", x: 1 }))).toMatchObject({
      _tag: "Unexpected",
      data: { tag: "Newer", x: 1 },
      message: "words",
    })
    expect(() => failureOf(new TypeError("a bug"))).toThrow("a bug")
  })

  it.live("is no runtime, where there is none; wrong options are a defect", () =>
    Effect.gen(function* () {
      const none = yield* Effect.flip(Effect.scoped(Creche.make({ socket: "/nowhere/s" })))
      expect(none).toMatchObject({ _tag: "NoRuntime", errno: "ENOENT" })
      const exit = yield* Effect.exit(Effect.scoped(Creche.make({ socket: 7 as never })))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]!._tag).toBe("Die")
    }),
  )
})
