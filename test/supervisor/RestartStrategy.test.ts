/** The pure strategy against a model of OTP's supervisor that walks its children one by one, as `supervisor.erl` does. */
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { RestartType } from "../../src/domain/SessionSpec.ts"
import { type RestartStrategy, restartStrategies } from "../../src/domain/SupervisorStore.ts"
import { type Child, groupRestart, type Standing, startedWith } from "../../src/supervisor/RestartStrategy.ts"
import { checked } from "../support/Property.ts"

const restarts: ReadonlyArray<RestartType> = ["permanent", "transient", "temporary"]
const standings: ReadonlyArray<Standing> = ["up", "finished", "resting"]

/** Only transient children finish, and temporary ones are not restarted, so none of them crashes here. */
const child = fc
  .record({ restart: fc.constantFrom(...restarts), standing: fc.constantFrom(...standings) })
  .filter(({ restart, standing }) => standing !== "finished" || restart === "transient")
const family = fc
  .array(child, { minLength: 1, maxLength: 8 })
  .map((children) => children.map((one, key): Child<number> => ({ ...one, key })))
const crash = family
  .filter((children) => children.some(({ restart, standing }) => restart !== "temporary" && standing === "up"))
  .chain((children) =>
    fc.record({
      children: fc.constant(children),
      crashed: fc.constantFrom(
        ...children
          .filter(({ restart, standing }) => restart !== "temporary" && standing === "up")
          .map(({ key }) => key),
      ),
    }),
  )

/** A supervisor that holds its children's processes, and does what is asked one step at a time. */
const play = (strategy: RestartStrategy, children: ReadonlyArray<Child<number>>, crashed: number) => {
  const log: Array<string> = []
  const alive = new Set(
    children.filter(({ key, standing }) => standing === "up" && key !== crashed).map(({ key }) => key),
  )
  const touched = children.filter(({ key }) =>
    strategy === "one_for_one" ? key === crashed : strategy === "one_for_all" || key >= crashed,
  )
  const gone = new Set<number>()
  for (const { key, restart } of touched.toReversed()) {
    if (alive.delete(key)) log.push(`end ${key}`)
    if (restart === "temporary") gone.add(key)
  }
  for (const { key, standing } of touched) {
    // Where a client stopped it, it stays stopped: the one rule that is not OTP's.
    if (gone.has(key) || (standing === "resting" && key !== crashed)) continue
    alive.add(key)
    log.push(`start ${key}`)
  }
  return { log, alive }
}

describe("a group restart", () => {
  it("does what the model does, in the same order", () => {
    checked(crash, fc.constantFrom(...restartStrategies), ({ children, crashed }, strategy) => {
      const { end, start } = groupRestart(strategy, children, crashed)
      const model = play(strategy, children, crashed)
      expect([...end.map((key) => `end ${key}`), ...start.map((key) => `start ${key}`)]).toEqual(model.log)
      const alive = new Set(children.filter(({ standing }) => standing === "up").map(({ key }) => key))
      alive.delete(crashed)
      for (const key of end) alive.delete(key)
      for (const key of start) alive.add(key)
      expect(alive).toEqual(model.alive)
    })
  })

  it("starts the one that crashed, ends nobody twice, and touches nobody before it under rest_for_one", () => {
    checked(crash, fc.constantFrom(...restartStrategies), ({ children, crashed }, strategy) => {
      const { end, start } = groupRestart(strategy, children, crashed)
      expect(start).toContain(crashed)
      expect(end).not.toContain(crashed)
      expect(new Set(end).size).toBe(end.length)
      expect(end).toEqual(end.toSorted((a, b) => b - a))
      expect(start).toEqual(start.toSorted((a, b) => a - b))
      if (strategy === "rest_for_one") expect([...end, ...start].every((key) => key >= crashed)).toBe(true)
      // Whoever is ended comes back, but for temporary ones.
      const lost = end.filter((key) => !start.includes(key))
      expect(lost.every((key) => children[key]!.restart === "temporary")).toBe(true)
    })
  })

  it("of a supervisor that begins anew starts what was up or had finished, and nobody else", () => {
    checked(family, (children) => {
      const started = startedWith(children)
      for (const { key, restart, standing } of children) {
        const wanted = standing === "finished" || (standing === "up" && restart !== "temporary")
        expect(started.includes(key)).toBe(wanted)
      }
    })
  })
})
