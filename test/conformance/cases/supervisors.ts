/** Supervisors of their own: started, shown, given up, stopped. */
import assert from "node:assert/strict"
import type { Case } from "../Case.ts"
import { eventually } from "../ConformanceClient.ts"

const below = (tree: any, path: string): any => {
  for (const child of tree.children) {
    if (child.type !== "supervisor") continue
    if (child.path === path) return child
    const found = below(child, path)
    if (found !== undefined) return found
  }
  return undefined
}

export const supervisorCases: ReadonlyArray<Case> = [
  {
    name: "starts a supervisor with sessions below it, shows it in the tree, and stops it with them",
    methods: ["supervisor/start", "supervisor/stop", "runtime/tree", "session/start", "session/list", "session/get"],
    run: async (on) => {
      const path = `root/${on.name("sup")}`
      const started = await on.ok("supervisor/start", {
        path,
        strategy: "rest_for_one",
        maxRestarts: 3,
        withinMs: 1000,
      })
      assert.deepEqual(
        [started.path, started.status, started.strategy, started.maxRestarts, started.withinMs, started.children],
        [path, "running", "rest_for_one", 3, 1000, []],
      )
      const { name } = await on.echo({ supervisor: path })
      const node = below(await on.ok("runtime/tree", {}), path)
      assert.deepEqual(
        node.children.map((child: any) => child.name),
        [name],
      )
      const { sessions } = await on.ok("session/list", { supervisor: path })
      assert.deepEqual(
        sessions.map((session: any) => [session.name, session.supervisor]),
        [[name, path]],
      )
      assert.deepEqual(await on.ok("supervisor/stop", { path }), { survivors: [] })
      assert.equal((await on.ok("session/get", { session: name })).status, "stopped")
      assert.equal(below(await on.ok("runtime/tree", {}), path), undefined)
    },
  },
  {
    name: "starts no session and no supervisor where none is, and gives a path to one supervisor",
    methods: ["supervisor/start", "supervisor/stop", "session/start", "session/restart"],
    errors: ["SupervisorNotFound", "SupervisorAlreadyExists"],
    run: async (on) => {
      const path = `root/${on.name("sup")}`
      const missing = await on.fails("supervisor/start", { path: `${path}/x` }, "SupervisorNotFound")
      assert.equal(missing.data["supervisor"], path)
      await on.fails("supervisor/stop", { path }, "SupervisorNotFound")
      await on.ok("supervisor/start", { path })
      await on.ok("supervisor/start", { path })
      await on.fails("supervisor/start", { path, strategy: "one_for_all" }, "SupervisorAlreadyExists")
      const { name } = await on.echo({ supervisor: path })
      await on.ok("supervisor/stop", { path })
      await on.fails("session/restart", { session: name }, "SupervisorNotFound")
      await on.refuses("supervisor/start", { path: "root" }, "path")
      await on.refuses("supervisor/start", { path, maxRestarts: 1 }, "withinMs")
      await on.refuses("supervisor/stop", { path: "root" }, "path")
    },
  },
  {
    name: "shows a supervisor that gave up with its reason, and starts it anew with its sessions",
    methods: ["supervisor/start", "supervisor/stop", "runtime/tree", "session/start", "session/tell", "session/get"],
    errors: ["RestartIntensityReached"],
    run: async (on) => {
      const path = `root/${on.name("sup")}`
      await on.ok("supervisor/start", { path, maxRestarts: 0, withinMs: 60_000 })
      const name = on.name()
      await on.ok("session/start", { name, supervisor: path, command: "sh", args: ["-c", "read line; exit 3"] })
      await on.ok("session/tell", { session: name, prompt: "end" })
      await eventually("it gave up", async () => below(await on.ok("runtime/tree", {}), path).status === "failed")
      const { reason } = below(await on.ok("runtime/tree", {}), path)
      assert.match(reason, /more than 0 restarts/)
      const refused = await on.fails("session/tell", { session: name, prompt: "x" }, "RestartIntensityReached")
      assert.deepEqual([refused.data["session"], refused.data["supervisor"]], [name, path])
      const anew = await on.ok("supervisor/start", { path })
      assert.deepEqual([anew.status, anew.reason, anew.maxRestarts], ["running", null, 0])
      assert.equal((await on.ok("session/get", { session: name })).status, "ready")
      await on.ok("supervisor/stop", { path })
    },
  },
]
