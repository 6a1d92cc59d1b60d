/** A whole `creche ps` against a runtime with ten sessions, from start to exit, against a Node that does nothing. */
import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import type { Measurement, Side } from "./Measurement.ts"
import { builtCli, sourceCli, startCreche } from "./ServerProcess.ts"
import { median } from "./Statistics.ts"

const sessions = 10

const outputOf = (args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    let output = ""
    child.stdout.setEncoding("utf8")
    child.stdout.on("data", (text: string) => (output += text))
    child.once("error", reject)
    child.once("close", (code) => (code === 0 ? resolve(output) : reject(new Error(`exit code ${code}`))))
  })

const timed =
  (args: ReadonlyArray<string>, check: (output: string) => boolean): Side["round"] =>
  async (count) => {
    const took: Array<number> = []
    for (let i = 0; i < count; i++) {
      const begun = performance.now()
      const output = await outputOf(args)
      took.push(performance.now() - begun)
      if (!check(output)) throw new Error(`unexpected output: ${output}`)
    }
    return median(took)
  }

const ps = async (cli: string): Promise<Side> => {
  const { connect } = await import("../src/client/index.ts")
  const server = await startCreche(cli)
  const client = await connect({ socket: server.socket })
  for (let i = 0; i < sessions; i++) await client.start({ name: `echo-${i}`, command: "cat", protocol: "lines" })
  await client.close()
  const lines = (output: string) => output.trimEnd().split("\n").length
  return {
    round: timed([cli, "ps", "--socket", server.socket], (output) => lines(output) === sessions + 1),
    close: () => server.close(),
  }
}

const common = {
  kind: "comparison",
  unit: "ms",
  target: 4,
  full: { rounds: 11, warmups: 2, count: 3 },
  quick: { rounds: 3, warmups: 1, count: 2 },
  baseline: async () => ({
    round: timed(["-e", "0"], (output) => output === ""),
    close: async () => {},
  }),
} as const

export const cliStart: ReadonlyArray<Measurement> = [
  {
    ...common,
    name: "ps/built",
    title: "creche ps, as installed",
    missing: () => (existsSync(builtCli) ? undefined : "dist/ is missing: npm run build makes it"),
    subject: () => ps(builtCli),
  },
  { ...common, name: "ps/source", title: "creche ps, from the checkout", subject: () => ps(sourceCli) },
]
