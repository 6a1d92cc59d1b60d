/** Chooses the protocol that a spec names. Knows every protocol of this build; called once a session. */
import { lines } from "./Lines.ts"
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
    default:
      return undefined
  }
}
