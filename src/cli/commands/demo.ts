/**
 * `creche demo`: a short scene in a runtime of its own: start, ask, kill -9, restart, ask again, stop, nothing
 * left. Proves each step; exits 1 at the first that does not hold.
 */
import { setTimeout as sleep } from "node:timers/promises"
import { demoSpec } from "../../demo/spec.ts"
import type { Session } from "../../domain/Session.ts"
import type { Turn } from "../../domain/Turn.ts"
import { type EmbeddedRuntime, openRuntime } from "../../EmbeddedRuntime.ts"
import { processStat } from "../../process/ProcessIdentity.ts"
import { CommandFailure } from "../Failure.ts"
import type { Run } from "../Run.ts"

type Tell = (step: string, text: string, facts: Readonly<Record<string, unknown>>) => Promise<void>

export const run: Run<"demo"> = async (call, io) => {
  const tell: Tell = (step, text, facts) =>
    io.stdout(call.shared.json ? `${JSON.stringify({ step, ...facts })}\n` : `${step.padEnd(8)} ${text}\n`)
  const runtime = await openRuntime()
  let survivors: ReadonlyArray<number> = []
  try {
    await play(runtime, tell)
  } finally {
    survivors = (await runtime.close()).survivors
  }
  if (survivors.length > 0) throw new CommandFailure(`could not be killed: ${survivors.join(", ")}`, { survivors })
  return 0
}

const play = async (runtime: EmbeddedRuntime, tell: Tell): Promise<void> => {
  const { containment } = await runtime.info()
  const started = await runtime.start(demoSpec({ name: "demo", backoff: { initialMs: 10 } }))
  const first = pidOf(started)
  await tell("start", `session ${started.name} is ${started.status}, pid ${first}`, {
    pid: first,
    status: started.status,
  })

  const hello = answered(await runtime.ask("demo", "hello"))
  await tell("ask", `hello → ${hello}`, { prompt: "hello", text: hello })

  // What left the process group by setsid is only in reach of the guard.
  const children = containment.level === "guard" ? "/fork 2 setsid" : "/fork 2"
  const forked = answered(await runtime.ask("demo", children))
  const pids = [first, ...(forked.match(/\d+/g) ?? []).map(Number)]
  await tell("ask", `${children} → ${forked}: they ignore SIGTERM`, { prompt: children, text: forked, pids })

  process.kill(first, "SIGKILL")
  await tell("kill -9", `pid ${first}`, { pid: first })

  const again = await restarted(runtime, first)
  const second = pidOf(again)
  pids.push(second)
  await tell("restart", `session ${again.name} is ${again.status}, pid ${second}, incarnation ${again.incarnation}`, {
    pid: second,
    incarnation: again.incarnation,
  })

  const back = answered(await runtime.ask("demo", "still there?"))
  await tell("ask", `still there? → ${back}`, { prompt: "still there?", text: back })

  const stopped = await runtime.stop("demo")
  await tell("stop", `session ${stopped.name} is ${stopped.status}`, { status: stopped.status })

  const left = pids.filter(exists)
  if (left.length > 0) throw new CommandFailure(`still running after the stop: ${left.join(", ")}`, { left })
  await tell("after", `none of the ${pids.length} processes is left (containment: ${containment.level})`, {
    pids,
    left,
    containment: containment.level,
  })
}

const pidOf = (session: Session): number => {
  if (session.pid === null) throw new CommandFailure(`session ${session.name} is ${session.status} and has no process`)
  return session.pid
}

const answered = (turn: Turn): string => {
  if (turn.status !== "completed")
    throw new CommandFailure(`the turn ended as ${turn.status}: ${turn.error?.message ?? "no reason given"}`)
  return turn.text
}

const restartDeadlineMs = 15_000

/** The session once it is ready with another process than `before`. */
const restarted = async (runtime: EmbeddedRuntime, before: number): Promise<Session> => {
  const deadline = Date.now() + restartDeadlineMs
  while (true) {
    const session = await runtime.get("demo")
    if (session.status === "ready" && session.pid !== null && session.pid !== before) return session
    if (session.status === "failed" || Date.now() > deadline)
      throw new CommandFailure(`the session was not restarted; it is ${session.status}`)
    await sleep(10)
  }
}

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // An orphan that ended is init's to reap, and some inits take their time.
    return processStat(pid)?.state !== "Z"
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}
