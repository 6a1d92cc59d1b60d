import { describe, expect, it } from "vitest"
import { remoteOf, resolveTarget, type TargetFlags } from "../../src/client/Target.ts"

const none: TargetFlags = { data: undefined, socket: undefined, url: undefined, token: undefined }
const env = { HOME: "/home/ada", CRECHE_URL: "http://env:1", CRECHE_TOKEN: "envtoken" }
const of = (flags: Partial<TargetFlags>, given: Record<string, string> = env) =>
  resolveTarget({ ...none, ...flags }, given, "/cwd")

describe("which runtime is meant", () => {
  it.each([
    ["http://127.0.0.1:8420", "ws://127.0.0.1:8420/v1/ws"],
    ["https://creche.example/", "wss://creche.example/v1/ws"],
    ["https://proxy.example/creche/", "wss://proxy.example/creche/v1/ws"],
    ["ws://[::1]:1/v1/ws", "ws://[::1]:1/v1/ws"],
  ])("%s has its WebSocket at %s", (given, url) => {
    expect(remoteOf(given, "t")).toEqual({ _tag: "Remote", url, token: "t" })
  })

  it.each(["", "127.0.0.1:8420", "ftp://x", "http://u:p@host", "http://host/?a=b", "http://host/#a"])(
    "%j is no URL of a runtime",
    (given) => {
      expect(remoteOf(given, undefined)).toMatchObject({ _tag: "Malformed" })
    },
  )

  it("is what a flag names, before what a variable does", () => {
    expect(of({ url: "http://flag:2" })).toEqual({ _tag: "Remote", url: "ws://flag:2/v1/ws", token: "envtoken" })
    expect(of({ url: "http://flag:2", token: "t" })).toMatchObject({ token: "t" })
    expect(of({ socket: "/s" })).toMatchObject({ _tag: "Socket", socket: "/s" })
    expect(of({ data: "/d" })).toMatchObject({ _tag: "Socket", dataDirectory: "/d" })
    expect(of({})).toEqual({ _tag: "Remote", url: "ws://env:1/v1/ws", token: "envtoken" })
    expect(of({}, { HOME: "/home/ada", CRECHE_URL: "", CRECHE_SOCKET: "/e" })).toMatchObject({ socket: "/e" })
  })
})
