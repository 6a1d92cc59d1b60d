/**
 * A client that outlives its runtime: `creche serve` is killed with -9 and started again on the same data directory, and the
 * program that talks to it does nothing about that. In a project of your own: import { connect } from "creche/client", and
 * the runtime is whatever keeps `creche serve` running.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { connect } from "../src/client/index.ts"

const directory = mkdtempSync(join(tmpdir(), "reconnecting-"))
const socket = join(directory, "s")
const creche = fileURLToPath(new URL("../src/cli/bin.ts", import.meta.url))

/** Once it says that it listens. */
const serve = async (): Promise<ChildProcess> => {
  const args = [creche, "serve", "--data", join(directory, "data"), "--socket", socket]
  const runtime = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] })
  let said = ""
  await new Promise<void>((resolve, reject) => {
    runtime.stderr.on("data", (text) => (said += String(text)).includes("listens on") && resolve())
    runtime.once("exit", () => reject(new Error(said)))
  })
  return runtime
}

let runtime = await serve()
try {
  await using client = await connect({ socket, reconnect: true })
  await client.start({ name: "ada", template: "demo", retryTurns: 1 })
  const ada = client.session("ada")

  const seen: Array<number> = []
  const subscription = await ada.subscribe({ after: 0 })
  const following = (async () => {
    for await (const event of subscription) if ("entry" in event) seen.push(event.entry.seq)
  })()

  console.log("before:", (await ada.ask("/remember colour green").turn).text)

  const died = once(runtime, "exit")
  runtime.kill("SIGKILL")
  await died
  const asked = ada.ask("/recall colour")
  console.log("the runtime is killed, and another one begins on the same directory")
  runtime = await serve()
  for await (const entry of asked) if (entry.type === "turn/ended") console.log("asked meanwhile:", entry.text)

  const { lastSeq } = await asked.turn
  while (seen.at(-1)! < lastSeq) await new Promise((resolve) => setTimeout(resolve, 10))
  await subscription.close()
  await following
  const isWhole = seen.every((seq, at) => seq === at + 1)
  console.log(isWhole ? "followed 1 to the last entry, each once" : `there is a gap: ${seen.join()}`)
} finally {
  const gone = once(runtime, "exit")
  runtime.kill("SIGTERM")
  await gone
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}
