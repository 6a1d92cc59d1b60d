import { describe, expect, it } from "vitest"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { Containment } from "../../src/domain/Session.ts"
import { type Found, levelFor, parseProbe, reportLevels } from "../../src/process/ContainmentLevels.ts"
import { commandOf } from "./SpawnerBench.ts"

const everything: Found = {
  server: "guard",
  detail: "",
  namespace: null,
  cgroup: { available: true, root: "/sys/fs/cgroup/x", controllers: ["memory", "pids"] },
}
const nothing: Found = {
  server: null,
  detail: "no compiler",
  namespace: undefined,
  cgroup: { available: false, detail: "nothing is delegated" },
}
const available = (found: Found) => reportLevels(found).levels.flatMap((one) => (one.available ? [one.level] : []))
const detail = (found: Found, level: Containment) =>
  reportLevels(found).levels.find((one) => one.level === level)?.detail

describe("the report of the levels", () => {
  it("names every level, from weak to strong", () => {
    for (const found of [everything, nothing]) {
      expect(reportLevels(found).levels.map((one) => one.level)).toEqual(["group", "guard", "namespace", "cgroup"])
    }
  })

  it("has all of them where all was found, and auto is guard", () => {
    expect(available(everything)).toEqual(["group", "guard", "namespace", "cgroup"])
    expect(reportLevels(everything).level).toBe("guard")
  })

  it("has the process group alone without a guard, whatever else there is", () => {
    expect(available({ ...everything, server: null, detail: "no compiler" })).toEqual(["group"])
    expect(available({ ...everything, server: "group" })).toEqual(["group"])
    expect(reportLevels(nothing)).toMatchObject({ level: "group", detail: "no compiler" })
    expect(detail(nothing, "cgroup")).toBe("no compiler")
  })

  it.each([
    ["namespace", 1, /AppArmor/],
    ["namespace", 28, /user\.max_user_namespaces/],
    ["namespace", 22, /no PID namespaces/],
    ["proc", 1, /hides parts of \/proc/],
    ["fork", 11, /EAGAIN, at the step fork/],
  ] as const)("a namespace that failed at %s with errno %i says why and what to do", (step, errno, says) => {
    const found = { ...everything, namespace: { step, errno } }
    expect(available(found)).not.toContain("namespace")
    expect(detail(found, "namespace")).toMatch(says)
  })

  it("says who holds the limits in a cgroup", () => {
    const withControllers = (controllers: ReadonlyArray<"memory" | "pids">): Found => ({
      ...everything,
      cgroup: { available: true, root: "/x", controllers },
    })
    expect(detail(withControllers(["memory", "pids"]), "cgroup")).toContain("the kernel holds memory and processes")
    expect(detail(withControllers(["memory"]), "cgroup")).toContain(
      "the kernel holds memory, its guard watches processes",
    )
    expect(detail(withControllers(["pids"]), "cgroup")).toContain(
      "the kernel holds processes, its guard watches memory",
    )
    expect(detail(withControllers([]), "cgroup")).toContain("its guard watches")
  })
})

describe("the level of a command", () => {
  const levelOf = (found: Found, over: Parameters<typeof commandOf>[2]) => {
    const level = levelFor(commandOf("true", [], over), reportLevels(found))
    return level instanceof SpawnFailed ? `${level.errno} ${level.field}: ${level.detail}` : level
  }

  it("is the one asked for where it holds", () => {
    for (const containment of ["group", "guard", "namespace", "cgroup"] as const) {
      expect(levelOf(everything, { containment })).toBe(containment)
    }
    expect(levelOf(everything, { containment: "auto" })).toBe("guard")
    expect(levelOf(nothing, { containment: "auto" })).toBe("group")
  })

  it("is refused with the reason where it does not, never silently less", () => {
    for (const containment of ["guard", "namespace", "cgroup"] as const) {
      expect(levelOf(nothing, { containment })).toBe(
        `ELEVEL containment: the level "${containment}" does not hold here: no compiler`,
      )
    }
    expect(levelOf({ ...everything, namespace: undefined }, { containment: "namespace" })).toContain("not answered")
  })

  it("without limits that the level cannot hold: the limit is named, and what would hold it", () => {
    const limits = { processes: 5 }
    expect(levelOf(everything, { containment: "group", limits })).toMatch(
      /^ELEVEL limits: the level "group" holds no limits\.processes; ask for "auto" or "guard"$/,
    )
    expect(levelOf(nothing, { containment: "auto", limits: { memoryBytes: 1 } })).toMatch(
      /^ELEVEL limits: the level "group" holds no limits\.memoryBytes; "guard" does, and is not to be had: no compiler$/,
    )
    expect(levelOf(nothing, { limits: {} })).toBe("group")
    expect(levelOf(everything, { limits })).toBe("guard")
  })
})

describe("what the guard's probe prints", () => {
  it("is read, and nothing is believed that it does not say", () => {
    expect(parseProbe("guard 1\nnamespace 0 0\n")).toEqual({ server: "guard", namespace: null })
    expect(parseProbe("guard 0\nnamespace 6 1\n")).toEqual({ server: "group", namespace: { step: "proc", errno: 1 } })
    expect(parseProbe("")).toEqual({ server: "group", namespace: undefined })
  })
})
