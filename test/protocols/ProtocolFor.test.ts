import { describe, expect, it } from "vitest"
import { protocolNames, type ProtocolSpec } from "../../src/domain/SessionSpec.ts"
import { protocolFor } from "../../src/protocols/ProtocolFor.ts"

describe("protocolFor", () => {
  it("speaks each of its protocols, and says so by their names", () => {
    for (const type of ["text", "lines", "ndjson", "jsonrpc", "lsp", "mcp", "claude", "acp"] as const)
      expect(protocolFor({ type })?.name).toBe(type)
  })

  it("has no answer for what this build does not speak", () => {
    const spoken = protocolNames.filter((type) => protocolFor({ type } as ProtocolSpec) !== undefined)
    expect(spoken).toEqual(["text", "lines", "ndjson", "jsonrpc", "lsp", "mcp", "claude", "acp"])
  })
})
