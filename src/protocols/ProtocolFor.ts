/** Chooses the protocol that a spec names. Knows every protocol of this build; called once a session. */
import { makeAcp } from "./Acp.ts"
import { makeClaude } from "./Claude.ts"
import { makeCodex } from "./Codex.ts"
import { makeJsonRpc } from "./JsonRpc.ts"
import { lines } from "./Lines.ts"
import { makeLsp } from "./Lsp.ts"
import { makeMcp } from "./Mcp.ts"
import { makeNdjson } from "./Ndjson.ts"
import type { Protocol, ProtocolFor } from "./Protocol.ts"
import { makeText } from "./Text.ts"

export const protocolFor: ProtocolFor = (spec) => {
  switch (spec.type) {
    case "lines":
      return lines as Protocol
    case "ndjson":
      return makeNdjson(spec) as Protocol
    case "text":
      return makeText(spec.endOfTurn) as Protocol
    case "jsonrpc":
      return makeJsonRpc(spec) as Protocol
    case "lsp":
      return makeLsp(spec) as Protocol
    case "mcp":
      return makeMcp(spec) as Protocol
    case "acp":
      return makeAcp(spec) as Protocol
    case "claude":
      return makeClaude(spec) as Protocol
    case "codex":
      return makeCodex(spec) as Protocol
    default:
      return undefined
  }
}
