/**
 * A bot whose own process is killed in the middle of a conversation, and whose users notice nothing: sessions, waiting
 * messages and answers are in the data directory, and the platform's message id as idempotency key makes a message that is
 * delivered again the same turn. The first life is a child process of this one, so that it can be killed with -9.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { demoSpec, openRuntime } from "../src/index.ts"

interface Message {
  /** What the platform calls it; the same when it is delivered again. */
  readonly id: string
  readonly text: string
}
const messages: ReadonlyArray<Message> = [
  { id: "m1", text: "/remember colour green" },
  { id: "m2", text: "/slow 60000 never heard" },
  { id: "m3", text: "/recall colour" },
]

/** Takes messages in, and dies before most of them are answered. */
const firstLife = async (dataDirectory: string) => {
  const runtime = await openRuntime({ dataDirectory })
  await runtime.start(demoSpec({ name: "ada" }), "return")
  const [first, ...rest] = messages
  const answer = await runtime.ask("ada", first!.text, { idempotencyKey: first!.id })
  for (const { id, text } of rest) await runtime.tell("ada", text, { idempotencyKey: id })
  console.log(`first life: ${answer.status}, and ${rest.length} more messages on record`)
  process.kill(process.pid, "SIGKILL")
}

const secondLife = async (dataDirectory: string) => {
  await using runtime = await openRuntime({ dataDirectory })
  // The platform got no receipt and delivers everything again: nothing is asked twice.
  for (const { id, text } of messages) {
    const turn = await runtime.ask("ada", text, { idempotencyKey: id })
    console.log(`second life: ${text} → ${turn.status}${turn.text === "" ? "" : `: ${turn.text}`}`)
  }
  const { turns } = await runtime.history("ada")
  console.log(`turns in all: ${turns.length}`)
}

const [, , directory] = process.argv
if (directory !== undefined) await firstLife(directory)
else {
  const dataDirectory = mkdtempSync(join(tmpdir(), "durable-bot-"))
  try {
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), dataDirectory], { stdio: "inherit" })
    const signal = await new Promise((resolve) => child.once("exit", (_code, killed) => resolve(killed)))
    console.log(`first life: ended by ${String(signal)}`)
    await secondLife(dataDirectory)
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true })
  }
}
