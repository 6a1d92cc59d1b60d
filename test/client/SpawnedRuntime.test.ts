import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { connect } from "../../src/client/index.ts"
import { demoSpec } from "../../src/demo/spec.ts"
import { eventually, isGone } from "../acceptance/Processes.ts"

let directory = ""
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-spawned-"))
})
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 5 }))

describe("a runtime of the client's own", () => {
  it("answers, streams, and is gone with its sessions when the client closes", async () => {
    const client = await connect({ stdio: {} })
    const { pid } = await client.request("runtime/info", {})
    const session = await client.start(demoSpec({ name: "a" }))
    const asked = client.session("a").ask("/stream 3 word")
    const types: Array<string> = []
    for await (const entry of asked) if (entry.type !== "native") types.push(entry.type)
    expect(types).toEqual(["turn/queued", "turn/started", "turn/delta", "turn/delta", "turn/delta", "turn/ended"])
    expect((await asked.turn).text).toBe("word word word")
    await client.close()
    await client.closed
    expect([isGone(pid), isGone(session.pid!)]).toEqual([true, true])
  })

  it("keeps its sessions in the directory that is named", async () => {
    const first = await connect({ stdio: { data: directory } })
    await first.start(demoSpec({ name: "a" }))
    await first.close()
    const second = await connect({ stdio: { data: directory } })
    expect((await second.request("session/get", { session: "a" })).name).toBe("a")
    await second.close()
  })

  it("is spawned again after kill -9, and the client goes on", async () => {
    const client = await connect({ stdio: { data: directory }, reconnect: { initialMs: 5 } })
    await client.start(demoSpec({ name: "a" }))
    const { pid } = await client.request("runtime/info", {})
    process.kill(pid, "SIGKILL")
    expect((await client.ask({ session: "a", prompt: "/echo back" })).text).toBe("back")
    const { pid: next } = await client.request("runtime/info", {})
    expect(next).not.toBe(pid)
    await client.close()
    await eventually("nothing is left", () => isGone(next))
  })

  it("that cannot be started is said so, and a combination that makes no sense too", async () => {
    await expect(connect({ stdio: { command: ["no-such-program-here"] } })).rejects.toMatchObject({
      tag: "NoRuntime",
      data: { errno: "ENOENT", command: "no-such-program-here" },
    })
    await expect(connect({ stdio: {}, reconnect: true })).rejects.toThrow("stdio.data")
    await expect(connect({ stdio: {}, socket: "/s" })).rejects.toThrow("either")
    await expect(connect({ stdio: { command: [] } })).rejects.toThrow("program")
  })
})
