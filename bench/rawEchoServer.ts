/** The baseline of `AskOverSocket`: a unix socket whose every connection is piped through a `cat`, and nothing more. */
import { spawn } from "node:child_process"
import { createServer } from "node:net"

const children = new Set<ReturnType<typeof spawn>>()
const server = createServer((socket) => {
  const cat = spawn("cat", { stdio: ["pipe", "pipe", "inherit"] })
  children.add(cat)
  cat.once("exit", () => children.delete(cat))
  socket.on("data", (chunk) => cat.stdin.write(chunk))
  cat.stdout.on("data", (chunk) => socket.write(chunk))
  socket.on("error", () => {})
  socket.once("close", () => cat.kill("SIGKILL"))
})
process.once("SIGTERM", () => {
  for (const cat of children) cat.kill("SIGKILL")
  process.exit(0)
})
const path = process.argv[2]!
server.listen(path, () => console.error(`listens on ${path}`))
