/** Serves a stub runtime with a session `a` on stdin and stdout; says on stderr how often it was shut down. */
import * as Effect from "effect/Effect"
import * as Stdio from "../../src/transport/Stdio.ts"
import { makeStub } from "./StubRuntime.ts"

const stub = makeStub({ total: 100_000, text: "x".repeat(2000) })
stub.session({ name: "a" })
stub.session({ name: "flood" })
const ticks = setInterval(() => process.stderr.write("tick\n"), 20)
await Effect.runPromise(Effect.provide(Stdio.serve({ drainMs: 1000 }), stub.layer))
clearInterval(ticks)
process.stderr.write(`${JSON.stringify({ shutdowns: stub.shutdowns.length, asks: stub.asks })}\n`)
// What a client that never reads was not given must not keep the process.
process.exit(0)
