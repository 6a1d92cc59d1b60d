import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { describe, expect, it } from "vitest"
import { makeIds, sessionOfTurn, turnToken, type TurnId } from "../../src/domain/Ids.ts"
import { Prompt } from "../../src/domain/Prompt.ts"

describe("a prompt", () => {
  it("is nothing else", () => {
    const decode = Schema.decodeUnknownExit(Prompt, { onExcessProperty: "error" })
    for (const good of ["", [], [{ type: "text", text: "" }]]) expect(Exit.isSuccess(decode(good))).toBe(true)
    for (const bad of [null, 7, {}, [""], [{ type: "image" }], [{ type: "text", text: "a", more: 1 }]]) {
      expect(Exit.isSuccess(decode(bad))).toBe(false)
    }
  })
})

describe("ids", () => {
  it("differ within a runtime and between runtimes, and a turn's token holds letters and digits alone", () => {
    const [one, other] = [makeIds(), makeIds()]
    const ids = [one, other]
      .flatMap((source) =>
        Array.from({ length: 100 }, () => {
          const session = source.session()
          return [session, one.turn(session), other.turn(session), source.subscription()]
        }),
      )
      .flat()
    expect(new Set(ids).size).toBe(ids.length)
    expect(turnToken(one.turn(one.session()))).toMatch(/^[A-Za-z0-9]+$/)
  })

  it("of a turn lead to its session, also in a runtime that the session comes back to", () => {
    const [before, after] = [makeIds(), makeIds()]
    const session = before.session()
    expect([before, after].map((source) => sessionOfTurn(source.turn(session)))).toEqual([session, session])
    expect(sessionOfTurn("turn_abc" as TurnId)).toBe(undefined)
  })
})
