/**
 * The backend of a chat bot: one session per user, made when the user first writes, asked in order, streamed as it answers.
 * The demo agent stands in for a real one. In a project of your own: import { openRuntime, demoSpec } from "creche".
 */
import { demoSpec, openRuntime } from "../src/index.ts"

await using runtime = await openRuntime()

/** What your platform's handler for incoming messages would call. */
const onMessage = async (user: string, text: string, say: (piece: string) => void): Promise<void> => {
  // `return`: whoever comes first starts it, everybody else gets the same session.
  const { id, seq } = await runtime.start(demoSpec({ name: user, idleTimeoutMs: 600_000, retryTurns: 1 }), "return")
  const turn = await runtime.tell(id, text)
  for await (const entry of runtime.subscribe({ session: id, after: seq, turn: turn.id })) {
    if (entry.type === "turn/delta") say(entry.text)
    if (entry.type === "turn/ended") {
      if (entry.status !== "completed") say(`(${entry.status}: ${entry.error?.message ?? "no reason given"})`)
      return
    }
  }
}

const chat = async (user: string, text: string) => {
  let answer = ""
  await onMessage(user, text, (piece) => (answer += piece))
  console.log(`${user}: ${text}\n  → ${answer}`)
}

// Two users at once, each with a conversation of their own; Ada's second message waits for her first.
await Promise.all([chat("ada", "hello"), chat("ada", "and again"), chat("bo", "/stream 3 word")])

// A session that sleeps costs no process. The next message wakes it.
await runtime.suspend("ada")
console.log("ada sleeps:", (await runtime.get("ada")).status)
await chat("ada", "good morning")
