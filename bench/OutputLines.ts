/**
 * A child prints many lines at full speed: as the answer of a turn, and as output between turns. The baseline splits them
 * into lines and counts. The child copies a file, so that the reader is what is slow.
 */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import type { SessionSpecInput } from "../src/domain/SessionSpec.ts"
import type { Measurement, Side } from "./Measurement.ts"
import { RawChild } from "./RawChild.ts"

/** Prints the file for each line that it reads, then END. */
const script = 'while read -r lines; do head -n "$lines" "$1"; echo END; done'
const maxLines = 100_000

const writeLines = (): string => {
  const file = join(process.cwd(), "lines.txt")
  const lines = Array.from({ length: maxLines }, (_, i) => `line ${i} of what an agent prints while it works\n`)
  writeFileSync(file, lines.join(""))
  return file
}

const argsFor = (file: string): ReadonlyArray<string> => ["-c", script, "sh", file]

const perRound = async (work: () => Promise<void>): Promise<number> => {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

const rawLines = async (): Promise<Side> => {
  const child = new RawChild("sh", argsFor(writeLines()))
  return {
    round: (count) =>
      perRound(
        () =>
          new Promise((resolve, reject) => {
            let lines = 0
            child.onLine = (line) => {
              if (line !== "END") return void lines++
              if (lines === count) resolve()
              else reject(new Error(`${lines} lines of ${count}`))
            }
            child.process.stdin.write(`${count}\n`)
          }),
      ),
    close: () => child.kill(),
  }
}

/** A session for each round, started before its time begins: what one may print at once is never used up (`docs/architecture.md`). */
const sessionsOf = async (protocol: NonNullable<SessionSpecInput["protocol"]>) => {
  const { openRuntime } = await import("../src/EmbeddedRuntime.ts")
  const runtime = await openRuntime()
  const args = argsFor(writeLines())
  let rounds = 0
  const round = async (work: (session: string) => Promise<void>): Promise<number> => {
    const session = `printer${++rounds}`
    await runtime.start({ name: session, command: "sh", args, protocol })
    const ms = await perRound(() => work(session))
    await runtime.remove(session)
    return ms
  }
  return { runtime, round, close: async () => void (await runtime.close()) }
}

const common = { kind: "comparison", unit: "ms", target: 2, baseline: rawLines } as const
const full = { rounds: 15, warmups: 3, count: maxLines }
const quick = { rounds: 3, warmups: 1, count: maxLines }

export const outputLines: ReadonlyArray<Measurement> = [
  {
    ...common,
    name: "lines/turn",
    title: "100k lines as the answer of a turn",
    full,
    quick,
    subject: async () => {
      const { runtime, round, close } = await sessionsOf({ type: "text", endOfTurn: { delimiter: "END" } })
      return {
        round: (count) =>
          round(async (session) => {
            const { status, text } = await runtime.ask(session, String(count))
            if (status !== "completed" || !text.endsWith("works")) throw new Error(`the turn ended as ${status}`)
          }),
        close,
      }
    },
  },
  {
    ...common,
    name: "lines/output",
    title: "100k lines between turns, to a subscriber",
    full,
    quick,
    subject: async () => {
      const { runtime, round, close } = await sessionsOf({ type: "lines" })
      return {
        round: (count) =>
          round(async (session) => {
            const entries = runtime.subscribe({ session, types: ["output"] })[Symbol.asyncIterator]()
            await runtime.write(session, `${count}\n`)
            let lines = 0
            while (true) {
              const { value: entry } = await entries.next()
              if (entry?.type !== "output") throw new Error("the subscription ended")
              for (let at = entry.data.indexOf("\n"); at >= 0; at = entry.data.indexOf("\n", at + 1)) lines++
              if (entry.data.endsWith("END\n")) break
            }
            await entries.return?.()
            if (lines !== count + 1) throw new Error(`${lines - 1} lines of ${count}`)
          }),
        close,
      }
    },
  },
]
