/** Listens on the path given, says how that went, and closes in order at the end of its stdin. */
import * as Effect from "effect/Effect"
import { once } from "node:events"
import * as UnixSocket from "../../src/transport/UnixSocket.ts"
import { makeStub } from "./StubRuntime.ts"

const program = Effect.gen(function* () {
  yield* UnixSocket.serve({ path: process.argv[2] ?? "" })
  process.stdout.write("listening\n")
  yield* Effect.promise(() => once(process.stdin.resume(), "end"))
}).pipe(
  Effect.scoped,
  Effect.catch((error) => Effect.sync(() => void process.stdout.write(`${error._tag}\n`))),
  Effect.provide(makeStub().layer),
)
await Effect.runPromise(program)
process.exit(0)
