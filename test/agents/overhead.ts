/**
 * What a turn costs in creche beyond the same CLI driven by hand, both from this one process, in turns. A program of its own: a
 * test runner would slow down the one side, and the suite starts it without one. Arguments: the agent's name, a directory to
 * work in, the address of the mock, for how many seconds each prompt is asked, and the prompts. Prints a line a prompt.
 *
 * Both CLIs get the same arguments, environment and kind of directory. A round asks each of them some times in a row, and which
 * is first changes with every round. The first of a row does not count: the other CLI is still at work on what it does after
 * a turn. Medians say what a turn takes; the lower quartiles what it takes where the machine does little else.
 */
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { openRuntime } from "../../src/index.ts"
import { agents } from "./Agents.ts"
import { directoryOf } from "./install.ts"

type Side = "hand" | "creche"

const inARow = 4

const [name = "", root = "", url = "", seconds = "10", ...given] = process.argv.slice(2)
const agent = agents.find((each) => each.name === name)
if (agent?.byHand === undefined) throw new Error(`no agent ${name} that is driven by hand`)

const quantile = (values: ReadonlyArray<number>, part: number) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length * part)]!
const more = (own: number, by: number) => `${((own / by - 1) * 100).toFixed(1)} %`

const place = { directory: directoryOf(agent), home: join(root, "home"), url }
const cwd = join(root, "work")
for (const directory of [place.home, cwd]) mkdirSync(directory, { recursive: true })
const runtime = await openRuntime({ dataDirectory: join(root, "overhead") })
try {
  for (const prompt of given.length > 0 ? given : ["hello", "count 20 5"]) {
    // New conversations: they grow with every turn.
    await runtime.start({ name: "measured", cwd, ...agent.spec(place) })
    const hand = await agent.byHand(place, cwd)
    const took: Record<Side, Array<number>> = { hand: [], creche: [] }
    const worked: Record<Side, Array<number>> = { hand: [], creche: [] }
    const ask: Record<Side, () => Promise<void>> = {
      hand: () => hand.ask(prompt),
      creche: async () => {
        const { status, error } = await runtime.ask("measured", prompt)
        if (status !== "completed") throw new Error(`a turn ended as ${status}: ${error?.message}`)
      },
    }
    const time = async (side: Side, counts: boolean) => {
      const [begun, work] = [performance.now(), process.cpuUsage()]
      await ask[side]()
      const ms = performance.now() - begun
      const { user, system } = process.cpuUsage(work)
      if (!counts) return
      took[side].push(ms)
      worked[side].push((user + system) / 1000)
    }
    const round = async (number: number, counts: boolean) => {
      for (const side of number % 2 === 0 ? (["hand", "creche"] as const) : (["creche", "hand"] as const)) {
        for (let nth = 0; nth < inARow; nth++) await time(side, counts && nth > 0)
      }
    }
    // The first ones warm up; a busy machine gets fewer instead of no figure.
    const warm = performance.now() + Number(seconds) * 500
    for (let number = 0; number < 3 && (number < 1 || performance.now() < warm); number++) await round(number, false)
    const until = performance.now() + Number(seconds) * 1000
    for (let number = 0; number < 2 || performance.now() < until; number++) await round(number, true)
    const of = (side: Side, part: number) => quantile(took[side], part)
    const differences = took.creche.map((ms, at) => ms - took.hand[at]!)
    const work = quantile(worked.creche, 0.5) - quantile(worked.hand, 0.5)
    console.log(
      `${agent.name}, ${prompt}: ${of("hand", 0.5).toFixed(1)} ms by hand, ${of("creche", 0.5).toFixed(1)} ms in creche ` +
        `(${more(of("creche", 0.5), of("hand", 0.5))} more; lower quartiles ${of("hand", 0.25).toFixed(1)} and ` +
        `${of("creche", 0.25).toFixed(1)} ms, ${more(of("creche", 0.25), of("hand", 0.25))}); pair by pair ` +
        `${quantile(differences, 0.5).toFixed(2)} ms more; ${work.toFixed(1)} ms of work in this process; ${differences.length} turns each`,
    )
    await hand.close()
    await runtime.remove("measured")
  }
} finally {
  await runtime.close()
}
