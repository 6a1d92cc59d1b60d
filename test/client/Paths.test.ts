import { describe, expect, it } from "vitest"
import { resolvePaths } from "../../src/client/Paths.ts"

const paths = (flags: { data?: string; socket?: string }, env: Record<string, string> = {}) =>
  resolvePaths({ data: flags.data, socket: flags.socket }, { HOME: "/h", ...env }, "/here")

describe("where the data directory and the socket are", () => {
  it("is below the home directory when nothing is said", () => {
    expect(paths({})).toEqual({
      dataDirectory: "/h/.local/state/creche",
      socket: "/h/.local/state/creche/creche.sock",
      socketIsShared: false,
    })
  })

  it("is where XDG's variables say, unless they are empty or relative", () => {
    const env = { XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/r" }
    expect(paths({}, env)).toMatchObject({
      dataDirectory: "/s/creche",
      socket: "/r/creche.sock",
      socketIsShared: false,
    })
    expect(paths({}, { XDG_STATE_HOME: "s", XDG_RUNTIME_DIR: "" })).toMatchObject({
      dataDirectory: "/h/.local/state/creche",
      socket: "/h/.local/state/creche/creche.sock",
    })
  })

  it("is what creche's own variables say before that, and what flags say before those", () => {
    const env = { XDG_STATE_HOME: "/s", XDG_RUNTIME_DIR: "/r", CRECHE_DATA: "/d", CRECHE_SOCKET: "/k" }
    expect(paths({}, env)).toEqual({ dataDirectory: "/d", socket: "/k", socketIsShared: false })
    expect(paths({ data: "x", socket: "y" }, env)).toEqual({
      dataDirectory: "/here/x",
      socket: "/here/y",
      socketIsShared: false,
    })
  })

  it("knows when the socket may be another runtime's", () => {
    expect(paths({ data: "/d" }, { XDG_RUNTIME_DIR: "/r" })).toEqual({
      dataDirectory: "/d",
      socket: "/r/creche.sock",
      socketIsShared: true,
    })
  })
})
