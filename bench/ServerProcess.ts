/** A server in a process of its own, for measurements from the outside: ready once it has said so, ended with SIGTERM. */
import { spawn } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { closeTimeoutMs } from "./SideProcess.ts"

export interface ServerProcess {
  readonly socket: string
  /** Of its HTTP; empty without. */
  readonly url: string
  readonly close: () => Promise<void>
}

export const sourceCli = fileURLToPath(new URL("../src/cli/bin.ts", import.meta.url))
export const builtCli = fileURLToPath(new URL("../dist/cli/bin.js", import.meta.url))

/** `announcement` is what the server writes to stderr once clients can connect. */
const start = (args: ReadonlyArray<string>, socket: string, announcement: string): Promise<ServerProcess> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    })
    const exited = new Promise<void>((done) => void child.once("exit", () => done()))
    let said = ""
    child.stderr.setEncoding("utf8")
    child.stderr.on("data", (text: string) => {
      if (said.length < 10_000) said += text
      if (!said.includes(announcement)) return
      resolve({
        socket,
        url: /http:\/\/[^\s]+/.exec(said)?.[0] ?? "",
        close: async () => {
          child.kill("SIGTERM")
          const timer = setTimeout(() => child.kill("SIGKILL"), closeTimeoutMs / 2)
          await exited
          clearTimeout(timer)
        },
      })
    })
    child.once("error", reject)
    child.once("exit", () => reject(new Error(`the server ended: ${said}`)))
  })

/** `creche serve` of the given CLI, in a data directory below the working directory. */
export const startCreche = (cli: string, flags: ReadonlyArray<string> = []): Promise<ServerProcess> => {
  // Both sides of a comparison may have one.
  const socket = join(process.cwd(), `${process.pid}.sock`)
  const data = join(process.cwd(), `data-${process.pid}`)
  return start([cli, "serve", "--data", data, "--socket", socket, ...flags], socket, "listens on")
}

/** The same with HTTP on loopback, for whom it may concern. */
export const startHttp = (cli: string): Promise<ServerProcess> =>
  startCreche(cli, ["--http", "127.0.0.1:0", "--no-auth"])

/** A socket whose every connection is piped through a `cat`. */
export const startRawEcho = (): Promise<ServerProcess> => {
  const socket = join(process.cwd(), "raw.sock")
  return start([fileURLToPath(new URL("./rawEchoServer.ts", import.meta.url)), socket], socket, "listens on")
}
