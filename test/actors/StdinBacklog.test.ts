import * as Exit from "effect/Exit"
import { expect, it } from "vitest"
import { SessionNotRunning, type RuntimeError } from "../../src/domain/Errors.ts"
import type { Session } from "../../src/domain/Session.ts"
import { StdinBacklog, stdinBytes, stdinLimit } from "../../src/actors/StdinBacklog.ts"

const session = {} as Session
const gone = () => new SessionNotRunning({ session: "a", status: "stopped", exit: null })

const make = () => {
  const taken: Array<string> = []
  const overflown: Array<number> = []
  let open = true
  const backlog = new StdinBacklog(
    (data) => {
      taken.push(String(data))
      return open
    },
    () => session,
    (bytes) => overflown.push(bytes),
  )
  const answers: Array<Exit.Exit<Session, RuntimeError>> = []
  const reply = (exit: Exit.Exit<Session, RuntimeError>) => void answers.push(exit)
  return { backlog, taken, overflown, answers, reply, fill: () => (open = false), drain: () => (open = true) }
}

it("hands on in order, and answers a client once the pipe has taken what it wrote", () => {
  const { backlog, taken, answers, reply, fill, drain } = make()
  backlog.offer("a", reply)
  expect(answers).toHaveLength(1)
  fill()
  backlog.offer("b", reply)
  backlog.offer("c", null)
  backlog.offer("d", reply)
  expect([taken, answers.length]).toEqual([["a", "b"], 1])
  drain()
  backlog.drained()
  expect([taken, answers.every(Exit.isSuccess), answers.length]).toEqual([["a", "b", "c", "d"], true, 3])
})

it("refuses clients where too much waits, and gives a child up that lets the runtime's own answers wait", () => {
  const { backlog, taken, answers, reply, overflown, fill } = make()
  fill()
  backlog.offer("first", null)
  // One alone may be of any size.
  const large = "x".repeat(stdinLimit - 10)
  backlog.offer(large, null)
  backlog.offer("y", reply)
  expect(answers).toHaveLength(1)
  expect(Exit.isFailure(answers[0]!)).toBe(true)
  backlog.offer("z".repeat(10), null)
  expect(overflown).toEqual([])
  backlog.offer("!", null)
  expect(overflown).toEqual([stdinLimit + 1])
  expect([taken, stdinBytes < stdinLimit]).toEqual([["first"], true])
})

it("answers everybody whose child is gone before it read", () => {
  const { backlog, answers, reply, fill } = make()
  fill()
  for (const data of ["a", "b", "c"]) backlog.offer(data, reply)
  backlog.close(gone)
  expect(answers).toHaveLength(3)
  expect(answers.every(Exit.isFailure)).toBe(true)
})
