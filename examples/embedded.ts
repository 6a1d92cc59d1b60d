/** A runtime in your own process. In a project of your own: import { openRuntime } from "creche". */
import { openRuntime } from "../src/index.ts"

await using runtime = await openRuntime()

// Any command becomes a session. `sort` would do as well as an agent's CLI; `cat` answers each line with itself.
const session = await runtime.start({ name: "echo", command: "cat", retryTurns: 1, backoff: { initialMs: 10 } })
console.log("started:", session.name, session.status)
console.log("answer:", (await runtime.ask("echo", "hello")).text)

// The child dies; the session does not. The turn below is asked again of the next process if it met the old one.
process.kill(session.pid!, "SIGKILL")
console.log("after kill -9:", (await runtime.ask("echo", "still there?")).text)

const { incarnation, restarts, deaths } = await runtime.get("echo")
console.log(
  `incarnation ${incarnation}, ${restarts} restart, died of ${deaths.map(({ exit }) => exit.kind).join(", ")}`,
)

const stopped = await runtime.stop("echo")
console.log("stopped:", stopped.status, "- nothing of it is left")
