import { describe, expect, it } from "vitest"
import { mostNamed, SessionMemory } from "../../src/supervisor/SessionMemory.ts"

const self = 10
/** A spawn server (20) with a guard (30 + n) and a command (1000 + n) for each, which has one child. */
const scanOf = (sessions: number, tookMs = 0, clock = { now: 0 }) => {
  let scans = 0
  const scan = () => {
    scans++
    clock.now += tookMs
    const alive = [
      { pid: 1, parent: 0, resident: 1 },
      { pid: self, parent: 1, resident: 100 },
      { pid: 20, parent: self, resident: 100 },
    ]
    for (let n = 0; n < sessions; n++) {
      alive.push(
        { pid: 30_000 + n, parent: 20, resident: 100 },
        { pid: 1000 + n, parent: 30_000 + n, resident: 3 },
        { pid: 60_000 + n, parent: 1000 + n, resident: 4 },
      )
    }
    return { alive, dead: [] }
  }
  return { scan, scans: () => scans, clock }
}
const live = (count: number, from = 0) =>
  Array.from({ length: count }, (_, n) => ({
    name: `s${from + n}`,
    template: n % 2 === 0 ? "t" : null,
    leader: 1000 + from + n,
  }))

describe("memory of sessions", () => {
  it("is that of the whole tree, without the guard", () => {
    const { scan } = scanOf(1)
    const memory = new SessionMemory({ scan, self, now: () => 0, pageBytes: 4096 })
    expect(memory.of(() => live(1))).toEqual([{ session: "s0", template: "t", residentBytes: 7 * 4096, processes: 2 }])
  })

  it("has names up to a limit, and loses nothing beyond it", () => {
    const { scan, clock } = scanOf(mostNamed + 50)
    const memory = new SessionMemory({ scan, self, now: () => clock.now, pageBytes: 1 })
    const loads = memory.of(() => live(mostNamed + 50))
    expect(loads.filter(({ session }) => session !== "_other").length).toBe(mostNamed)
    expect(loads.filter(({ session }) => session === "_other")).toEqual([
      { session: "_other", template: "t", residentBytes: 25 * 7, processes: 50 },
      { session: "_other", template: "", residentBytes: 25 * 7, processes: 50 },
    ])
    clock.now += 60_000
    // Those that were named are gone, and their names are kept for them: others do not take their series.
    expect(new Set(memory.of(() => live(50, mostNamed)).map(({ session }) => session))).toEqual(new Set(["_other"]))
    clock.now += 60_000
    expect(memory.of(() => live(1)).map(({ session }) => session)).toEqual(["s0"])
  })

  it("is looked at every ten seconds at most, and more rarely where a look takes long", () => {
    const quick = scanOf(1)
    const memory = new SessionMemory({ scan: quick.scan, self, now: () => quick.clock.now, pageBytes: 1 })
    for (; quick.clock.now < 60_000; quick.clock.now += 100) memory.of(() => live(1))
    expect(quick.scans()).toBe(6)
    const slow = scanOf(1, 1000)
    const rare = new SessionMemory({ scan: slow.scan, self, now: () => slow.clock.now, pageBytes: 1 })
    for (; slow.clock.now < 500_000; slow.clock.now += 100) rare.of(() => live(1))
    expect(slow.scans() * 1000).toBeLessThanOrEqual(500_000 / 45)
  })

  it("looks at nothing where no session has a process, or there is no /proc", () => {
    const { scan, scans } = scanOf(1)
    expect(new SessionMemory({ scan, self }).of(() => [])).toEqual([])
    expect(scans()).toBe(0)
    expect(new SessionMemory({ scan: () => ({ alive: [], dead: [] }), self }).of(() => live(1))).toEqual([])
  })
})
