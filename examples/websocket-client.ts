/**
 * A client that is not on the runtime's machine: over HTTP's WebSocket, with a token that may ask and read, and nothing else.
 * In a project of your own: `creche token create bot --scope read --scope prompt` makes the token, and
 * `creche serve --http 127.0.0.1:8420` (behind a proxy with TLS where others are to reach it) takes it.
 */
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { connect, CrecheError } from "../src/client/index.ts"

const directory = mkdtempSync(join(tmpdir(), "websocket-"))
const creche = fileURLToPath(new URL("../src/cli/bin.ts", import.meta.url))
const of = ["--data", join(directory, "data"), "--socket", join(directory, "s")]

// The operator: a runtime with a session, and a token for the bot.
const scopes = ["--scope", "read", "--scope", "prompt"]
const token = execFileSync(process.execPath, [creche, "token", "create", "bot", ...scopes, ...of], { encoding: "utf8" })
const runtime = spawn(process.execPath, [creche, "serve", "--demo", "--http", "127.0.0.1:0", ...of], {
  stdio: ["ignore", "ignore", "pipe"],
})
let said = ""
const url = await new Promise<string>((resolve, reject) => {
  runtime.stderr.on("data", (text) => {
    const found = /http:[^\s]+/.exec((said += String(text)))
    if (found !== null) resolve(found[0])
  })
  runtime.once("exit", () => reject(new Error(said)))
})

try {
  // The bot: knows a URL and a token.
  await using client = await connect({ url, token: token.trim(), reconnect: true })
  const asked = client.session("demo").ask("/stream 3 word")
  for await (const entry of asked) if (entry.type === "turn/delta") console.log(entry.text.trim())
  console.log((await asked.turn).status)
  try {
    await client.session("demo").stop()
  } catch (error) {
    if (error instanceof CrecheError) console.log(error.tag)
  }
} finally {
  const gone = once(runtime, "exit")
  runtime.kill("SIGTERM")
  await gone
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}
