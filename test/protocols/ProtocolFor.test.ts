import { describe, expect, it } from "vitest"
import { protocolNames, type ProtocolSpec } from "../../src/domain/ProtocolSpec.ts"
import { protocolFor } from "../../src/protocols/ProtocolFor.ts"

/** What a spec may name and no build speaks yet. */
const unspoken: ReadonlyArray<string> = ["pty"]

describe("protocolFor", () => {
  it("speaks each protocol by its name, and has no answer for what this build does not speak", () => {
    const spoken = protocolNames.map((type) => protocolFor({ type } as ProtocolSpec)?.name)
    expect(spoken).toEqual(protocolNames.map((name) => (unspoken.includes(name) ? undefined : name)))
  })
})
