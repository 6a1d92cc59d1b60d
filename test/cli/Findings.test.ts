import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { agentClis, compiler, findOnPath, nodeVersion, socketPath, writable } from "../../src/cli/Findings.ts"

const directory = mkdtempSync(join(tmpdir(), "creche-findings-"))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe("what doctor finds", () => {
  it("takes Node 22.19 and later", () => {
    expect(["v22.19.0", "v24.0.0"].map((version) => nodeVersion(version).status)).toEqual(["ok", "ok"])
    expect(["v22.18.9", "v20.20.2"].map((version) => nodeVersion(version).status)).toEqual(["bad", "bad"])
  })

  it("finds a program on PATH only where it is one, and never runs it", () => {
    const bin = join(directory, "bin")
    mkdirSync(bin)
    writeFileSync(join(bin, "claude"), `#!/bin/sh\ntouch ${directory}/ran\n`)
    const env = { PATH: `${join(directory, "missing")}:${bin}` }
    expect(findOnPath("claude", env)).toBeUndefined()
    chmodSync(join(bin, "claude"), 0o755)
    mkdirSync(join(bin, "codex"))
    const found = agentClis(env)
    expect(found.find((finding) => finding.what === "claude")).toMatchObject({
      status: "ok",
      detail: join(bin, "claude"),
    })
    expect(found.find((finding) => finding.what === "codex")).toMatchObject({ status: "missing" })
    expect(found.every((finding) => finding.status === "ok" || finding.remedy !== undefined)).toBe(true)
    expect(findOnPath("../ran", { PATH: bin })).toBeUndefined()
  })

  it("takes a data directory that can be made, and refuses one below a file", () => {
    expect(writable("data", join(directory, "a/b/c")).status).toBe("ok")
    writeFileSync(join(directory, "file"), "")
    expect(writable("data", join(directory, "file/x"))).toMatchObject({ status: "bad", remedy: expect.any(String) })
  })

  it("names the data directory, not only what stands above it, where it cannot be made", () => {
    writeFileSync(join(directory, "home"), "")
    const data = join(directory, "home/.local/state/creche")
    expect(writable("data", data).detail).toBe(
      `${data} cannot be made: ${join(directory, "home")} cannot be written by you`,
    )
  })

  it("refuses a socket path that the kernel would", () => {
    expect(socketPath("/tmp/creche.sock").status).toBe("ok")
    expect(socketPath(`/tmp/${"ü".repeat(60)}`).status).toBe("bad")
  })

  it("misses a compiler only where the guard is missing", () => {
    expect(compiler({ PATH: "" }, false).status).toBe("ok")
    expect(compiler({ PATH: "" }, true)).toMatchObject({ status: "missing", remedy: expect.any(String) })
  })
})
