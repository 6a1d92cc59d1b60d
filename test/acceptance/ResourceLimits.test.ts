/** Limits of a session's whole tree, as a user meets them: the exit says which, the transcript too, supervision goes on. */
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openRuntime, type EmbeddedRuntime } from "../../src/index.ts"
import { eventually, fixture, freshToken, noTree, pidsWith } from "../process/SpawnerBench.ts"

describe.skipIf(noTree !== "")(`limits of a session's processes and memory${noTree && ` (${noTree})`}`, () => {
  let runtime: EmbeddedRuntime
  beforeAll(async () => {
    runtime = await openRuntime()
  })
  afterAll(() => runtime?.close())

  it("a session that starts a fork bomb is ended, said why, restarted by its type, and its sibling answers", async () => {
    const token = freshToken()
    await runtime.start({ name: "sibling", command: "cat" })
    await runtime.start({
      name: "bomber",
      command: "sh",
      args: ["-c", `while read line; do sh ${fixture("fork-bomb.sh")} ${token} 11 & done`],
      restart: "permanent",
      limits: { processes: 15 },
    })
    const turn = runtime.ask("bomber", "go").catch((error: unknown) => error)
    expect((await runtime.ask("sibling", "hello")).text).toBe("hello")
    expect(await turn).toMatchObject({ status: "failed" })
    const again = await eventually("restarted", async () => {
      const session = await runtime.get("bomber")
      return session.status === "ready" && session.incarnation === 2 && session
    })
    const detail = "limits.processes: more than 15 at once"
    expect(again.deaths).toMatchObject([{ exit: { kind: "killedByRuntime", detail } }])
    expect(again.restarts).toBe(1)
    const { entries } = await runtime.transcript("bomber")
    expect(entries).toContainEqual(expect.objectContaining({ type: "note", text: `ended by the runtime: ${detail}` }))
    // The shell that was started again has the token in its script.
    expect(pidsWith(token)).toEqual([again.pid])
    await runtime.stop("bomber")
    await runtime.stop("sibling")
  })

  it("a temporary session that takes too much memory is stopped with that exit", async () => {
    const limit = 64 * 1024 * 1024
    await runtime.start({
      name: "glutton",
      command: "sh",
      args: ["-c", "read line; head -c 400000000 /dev/zero | tail -c 300000000"],
      restart: "temporary",
      limits: { memoryBytes: limit },
    })
    await runtime.ask("glutton", "go").catch(() => {})
    const session = await eventually("ended", async () => {
      const now = await runtime.get("glutton")
      return now.exit !== null && now
    })
    expect(session.exit).toMatchObject({
      kind: "killedByRuntime",
      detail: expect.stringMatching(new RegExp(`^limits\\.memoryBytes: \\d+ bytes, and ${limit} are allowed$`)),
    })
  })

  it("info names every level, and a session the one that holds it", async () => {
    const { containment } = await runtime.info()
    expect(containment.levels.map((one) => one.level)).toEqual(["group", "guard", "namespace", "cgroup"])
    for (const { level, available, detail } of containment.levels) {
      const name = `at-${level}`
      const started = runtime.start({ name, command: "cat", containment: level })
      if (available) {
        expect(await started).toMatchObject({ containment: level })
        await runtime.stop(name)
      } else {
        await expect(started).rejects.toMatchObject({ errno: "ELEVEL", message: expect.stringContaining(detail) })
      }
    }
  })
})
