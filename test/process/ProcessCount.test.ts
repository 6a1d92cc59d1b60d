import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fc from "fast-check"
import { afterEach, describe, expect, it } from "vitest"
import {
  believedMs,
  ProcessCount,
  ProcessTree,
  scanProcesses,
  type Scan,
  type ScannedProcess,
} from "../../src/process/ProcessCount.ts"
import { checked } from "../support/Property.ts"
import { eventually, noTree, openBench, serverOf, type SpawnerBench } from "./SpawnerBench.ts"

/** `[pid, parent]`; the runtime is 100, below 1. */
const tree = (alive: ReadonlyArray<readonly [number, number]>, dead: ReadonlyArray<readonly [number, number]> = []) => {
  const processes = (pairs: typeof alive): ReadonlyArray<ScannedProcess> =>
    pairs.map(([pid, parent]) => ({ pid, parent }))
  return new ProcessTree({ alive: processes([[1, 0], [50, 1], [100, 50], ...alive]), dead: processes(dead) }, 100)
}

describe("the size of a session's process tree", () => {
  const server = [110, 100] as const

  it("under a guard is all that is below the guard, also what left its parents", () => {
    const found = tree([server, [111, 110], [112, 110], [120, 111], [121, 120], [122, 121], [123, 111], [130, 112]])
    expect(found.sizeOf(120)).toBe(4)
    expect(found.sizeOf(130)).toBe(1)
  })

  it("in a namespace leaves out the init there, which is a helper, and nobody who only calls himself so", () => {
    const alive: ReadonlyArray<ScannedProcess> = [
      { pid: 100, parent: 1 },
      { pid: 110, parent: 100 },
      { pid: 111, parent: 110 },
      { pid: 112, parent: 111, init: true },
      { pid: 120, parent: 111 },
      { pid: 121, parent: 112 },
      { pid: 122, parent: 120, init: true },
    ]
    expect(new ProcessTree({ alive, dead: [] }, 100).membersOf(120)).toEqual([120, 121, 122])
  })

  it("in a process group is the command and what descends from it, and nothing else of the program", () => {
    const found = tree([server, [111, 110], [120, 100], [121, 120], [140, 100], [141, 140]])
    expect(found.sizeOf(120)).toBe(2)
  })

  it("does not count who is dead and only waits to be reaped, but finds what lives on below", () => {
    const found = tree([server, [111, 110], [121, 111], [122, 121]], [[120, 111]])
    expect(found.sizeOf(120)).toBe(2)
    expect(tree([server, [111, 110]], [[120, 111]]).sizeOf(120)).toBe(0)
  })

  it("of a command whose guard was killed is its own: not that of all other sessions", () => {
    const found = tree([server, [111, 110], [120, 110], [121, 120], [130, 111], [131, 130]])
    expect(found.sizeOf(120)).toBe(2)
  })

  it("of a command that was taken in from above is its own: not that of the whole machine", () => {
    for (const above of [1, 50]) expect(tree([server, [120, above], [121, 120], [60, 50]]).sizeOf(120)).toBe(2)
  })

  it("holds when the spawn server died and its guards are somebody else's", () => {
    expect(
      tree([
        [111, 1],
        [120, 111],
        [121, 111],
      ]).sizeOf(120),
    ).toBe(2)
  })

  it("of what is not there is 0", () => {
    expect(tree([server]).sizeOf(120)).toBe(0)
  })

  it("is found in any tree, also where a scan caught parents in a ring", () => {
    const pairs = fc.array(fc.tuple(fc.integer({ min: 2, max: 130 }), fc.integer({ min: 0, max: 130 })), {
      maxLength: 60,
    })
    checked(pairs, fc.integer({ min: 2, max: 130 }), (found, leader) => {
      const alive = [...new Map(found)].map(([pid, parent]) => ({ pid, parent }))
      const size = new ProcessTree({ alive, dead: [] }, 100).sizeOf(leader)
      expect(size).toBeGreaterThanOrEqual(0)
      expect(size).toBeLessThanOrEqual(alive.length)
    })
  })
})

describe("counting", () => {
  const scanOf = (pairs: ReadonlyArray<readonly [number, number]>): Scan => ({
    alive: pairs.map(([pid, parent]) => ({ pid, parent })),
    dead: [],
  })

  it("takes a session that is just being started, or that no scan has seen, for one process", () => {
    const count = new ProcessCount({
      scan: () =>
        scanOf([
          [5, 100],
          [6, 5],
        ]),
      self: 100,
    })
    expect(count.of([])).toBe(0)
    expect(count.of([5])).toBe(2)
    expect(count.of([5, null, 9, null])).toBe(5)
  })

  it("where there is no /proc takes every session for one", () => {
    expect(new ProcessCount({ scan: () => scanOf([]) }).of([1, 2, null])).toBe(3)
  })

  it("scans once in a while only, and not at all where nothing runs", () => {
    let now = 0
    let scans = 0
    const count = new ProcessCount({
      scan: () => {
        scans++
        now += 50
        return scanOf([])
      },
      now: () => now,
    })
    count.of([])
    count.of([null, null])
    expect(scans).toBe(0)
    for (; now < 1500; now++) count.of([7])
    expect(scans).toBe(1500 / (believedMs + 50))
  })
})

describe.skipIf(process.platform !== "linux")("real processes", () => {
  let bench: SpawnerBench | undefined
  afterEach(async () => {
    await bench?.close()
    bench = undefined
  })
  const sizes = (...pids: ReadonlyArray<number>) => {
    const found = new ProcessTree(scanProcesses(), process.pid)
    return pids.map((pid) => found.sizeOf(pid))
  }

  for (const level of ["guard", "group"] as const) {
    it.skipIf(level === "guard" && noTree !== "")(
      `are counted at the level ${level}, without helpers and bystanders`,
      async () => {
        bench = await openBench(level)
        const bystander = spawn("sleep", ["1000"], { stdio: "ignore" })
        try {
          const one = await bench.start("sleep", ["1000"])
          const three = await bench.start("sh", ["-c", "sleep 1000 & sleep 1000 & wait"])
          await eventually(
            "the children are there",
            () => String(sizes(one.subprocess.pid, three.subprocess.pid)) === "1,3",
          )
          const count = new ProcessCount()
          expect(count.of([one.subprocess.pid, three.subprocess.pid, null])).toBe(5)
          await three.close()
          expect(sizes(one.subprocess.pid, three.subprocess.pid)).toEqual([1, 0])
          await one.close()
        } finally {
          const gone = once(bystander, "exit")
          bystander.kill("SIGKILL")
          await gone
        }
      },
    )
  }

  it.skipIf(noTree !== "")(
    "are counted also when they are daemons, and when their guard or the spawn server was killed",
    async () => {
      bench = await openBench("guard")
      const other = await bench.start("sleep", ["1000"])
      const { subprocess, recorder, close } = await bench.start("sh", [
        "-c",
        "(setsid sh -c 'sleep 1000 & exec sleep 1000' &) ; exec sleep 1000",
      ])
      await eventually(
        "two daemons and the command",
        () => String(sizes(subprocess.pid, other.subprocess.pid)) === "3,1",
      )
      const guard = scanProcesses().alive.find(({ pid }) => pid === subprocess.pid)!.parent
      process.kill(serverOf(process.pid, bench.directory)!, "SIGKILL")
      await eventually(
        "the server is another's child or gone",
        () => !scanProcesses().dead.some(({ pid }) => pid === guard),
      )
      expect(sizes(subprocess.pid, other.subprocess.pid)).toEqual([3, 1])
      await close()
      await recorder.closed
      expect(sizes(subprocess.pid, other.subprocess.pid)).toEqual([0, 1])
    },
  )
})
