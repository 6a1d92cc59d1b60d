/** Codex under test, and how it is driven by hand. */
import { spawn } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { inheritedEnvironment, type Agent } from "./Agent.ts"
import { codexEnvironment, codexPackage, codexProgram } from "./CodexLaunch.ts"

interface Answer {
  readonly id?: number
  readonly method?: string
  readonly result?: { readonly thread?: { readonly id: string } }
}

export const codex: Agent = {
  name: "codex",
  protocol: "codex",
  packages: [codexPackage],
  program: codexProgram,
  mock: new URL("mockOpenai.ts", import.meta.url),
  spec: ({ directory, home, url }) => ({
    template: "codex",
    command: join(directory, codexProgram),
    env: { ...codexEnvironment(home, url) },
  }),
  // Outside of its sandbox: inside it asks for nothing.
  asksToRun: (command) => `run escalated ${command}`,
  anonymous: ({ home, url }) => {
    const own = `${home}/anonymous`
    const env = codexEnvironment(own, url)
    // Without the mock: the provider that wants accounts.
    writeFileSync(`${env["CODEX_HOME"]}/config.toml`, "")
    return { env: { ...env } }
  },
  cannot: {},
  byHand: async ({ directory, home, url }, cwd) => {
    const child = spawn(join(directory, codexProgram), ["app-server"], {
      cwd,
      // A TMPDIR as a session has one: with it every turn of Codex takes about a millisecond longer.
      env: { ...inheritedEnvironment(), TMPDIR: home, ...codexEnvironment(home, url) },
      stdio: ["pipe", "pipe", "ignore"],
    })
    const exited = new Promise<void>((resolve) => child.on("exit", () => resolve()))
    let waiting: { readonly fits: (answer: Answer) => boolean; readonly resolve: (answer: Answer) => void } | undefined
    createInterface({ input: child.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer
      if (waiting?.fits(answer) === true) waiting.resolve(answer)
    })
    const tell = (message: object, fits: (answer: Answer) => boolean) =>
      new Promise<Answer>((resolve) => {
        waiting = { fits, resolve }
        child.stdin.write(JSON.stringify(message) + "\n")
      })
    const request = (id: number, method: string, params: object) =>
      tell({ id, method, params }, (answer) => answer.id === id && answer.method === undefined)
    await request(1, "initialize", { clientInfo: { name: "byhand", title: "by hand", version: "0" } })
    child.stdin.write('{"method":"initialized"}\n')
    const threadId = (await request(2, "thread/start", { cwd })).result?.thread?.id
    let count = 2
    return {
      ask: async (text) => {
        const params = { threadId, input: [{ type: "text", text }] }
        await tell({ id: ++count, method: "turn/start", params }, ({ method }) => method === "turn/completed")
      },
      close: async () => {
        // Not SIGKILL: that would end the launcher from npm alone.
        child.kill("SIGTERM")
        await exited
      },
    }
  },
}
