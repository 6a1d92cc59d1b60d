/**
 * The client for programs on Effect: requests with typed failures, entries as streams, a connection that lives as long as its
 * scope. In a project of your own: import * as Creche from "creche/client/effect", and leave `stdio` out to speak to the
 * runtime that `creche serve` runs.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Creche from "../src/client/EffectClient.ts"

const program = Effect.gen(function* () {
  const creche = yield* Creche.Creche
  const ada = creche.session("ada")

  const sleeps = yield* ada.get.pipe(
    Effect.map(({ status }) => status),
    Effect.catchTag("SessionNotFound", ({ session }) => Effect.succeed(`there is no ${session} yet`)),
  )
  console.log(sleeps)

  yield* creche.start({ name: "ada", template: "demo" })
  const words = yield* ada.stream("/stream 3 word").pipe(
    Stream.filter((entry) => entry.type === "turn/delta"),
    Stream.map((entry) => entry.text.trim()),
    Stream.runCollect,
  )
  console.log(words.join(", "))

  // What takes too long is interrupted, and its request given up; the turn itself is cancelled by name.
  const late = yield* ada.ask("/slow 60000 never").pipe(Effect.timeoutOption("300 millis"))
  if (late._tag === "None") console.log("no answer yet:", (yield* ada.cancel()).status)

  const ended = yield* ada.subscribe({ after: 0, types: ["turn/ended"] }).pipe(Stream.take(2), Stream.runCount)
  console.log("turns that ended:", ended)
})

await Effect.runPromise(Effect.provide(program, Creche.layer({ stdio: {} })))
