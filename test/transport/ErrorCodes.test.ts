import { describe, expect, it } from "vitest"
import { NotReady, SessionNotFound, SpawnFailed } from "../../src/domain/Errors.ts"
import { contract, methods, notOffered } from "../../src/transport/Contract.ts"
import { errorCodes, errorData, httpStatusOf, isRuntimeError } from "../../src/transport/ErrorCodes.ts"
import { runtimeError } from "../../src/transport/JsonRpc.ts"

/** The table of the public protocol. */
const pinned = {
  SessionNotFound: [-32001, 404],
  TurnNotFound: [-32001, 404],
  TemplateNotFound: [-32001, 404],
  SupervisorNotFound: [-32001, 404],
  RequestNotFound: [-32001, 404],
  SessionAlreadyExists: [-32002, 409],
  SupervisorAlreadyExists: [-32002, 409],
  MailboxFull: [-32003, 429],
  SessionNotRunning: [-32004, 409],
  SpawnFailed: [-32005, 422],
  NotReady: [-32006, 504],
  RestartIntensityReached: [-32007, 503],
  Unauthorized: [-32008, 401],
  Forbidden: [-32009, 403],
  Draining: [-32010, 503],
  LimitReached: [-32011, 429],
  Unsupported: [-32012, 501],
  StoreUnavailable: [-32013, 503],
  InvalidParams: [-32602, 400],
  SubscriptionNotFound: [-32001, 404],
} as const

describe("error codes", () => {
  it("are those that the protocol pins", () => {
    const codes = Object.fromEntries(Object.entries(errorCodes).map(([tag, { code, http }]) => [tag, [code, http]]))
    expect(codes).toEqual(pinned)
  })

  it("carry the tag and the identity, with times as RFC 3339", () => {
    const exit = { kind: "exited", code: 3, at: 0 } as const
    const error = new NotReady({ session: "a", detail: "no prompt came", exit, stderrTail: "oops" })
    expect(runtimeError(error)).toEqual({
      code: -32006,
      message: "session a did not become ready: no prompt came",
      data: {
        tag: "NotReady",
        session: "a",
        detail: "no prompt came",
        exit: { kind: "exited", code: 3, at: "1970-01-01T00:00:00.000Z" },
        stderrTail: "oops",
      },
    })
    const failed = new SpawnFailed({ command: "nope", field: "command", errno: "ENOENT", detail: "not found" })
    expect(errorData(failed)).toEqual({
      tag: "SpawnFailed",
      command: "nope",
      field: "command",
      errno: "ENOENT",
      detail: "not found",
    })
    expect(httpStatusOf(failed)).toBe(422)
  })

  it("tell expected failures from anything else that may be thrown", () => {
    expect(isRuntimeError(new SessionNotFound({ session: "a" }))).toBe(true)
    for (const other of [null, "x", new Error("x"), { _tag: "constructor" }, { _tag: "Other" }]) {
      expect(isRuntimeError(other)).toBe(false)
    }
  })

  it("are known for every error that the contract names, and no method is both offered and not", () => {
    for (const method of methods) for (const tag of contract[method].errors) expect(errorCodes).toHaveProperty(tag)
    expect(methods.filter((method) => (notOffered as ReadonlyArray<string>).includes(method))).toEqual([])
  })
})
