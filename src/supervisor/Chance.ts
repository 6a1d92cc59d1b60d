/**
 * What a runtime draws by lot: jitter, the origin of its ids, UUIDs for new conversations. A reference with the machine's own
 * chance by default, so that whoever replays a run can say how the lots fell.
 */
import { randomUUID } from "node:crypto"
import * as Context from "effect/Context"
import { randomOrigin } from "../domain/Ids.ts"

export interface Draws {
  /** In [0, 1). */
  readonly fraction: () => number
  /** Tells ids of this runtime from those of others: letters and digits. */
  readonly origin: () => string
  readonly uuid: () => string
}

export const Chance = Context.Reference<Draws>("creche/supervisor/Chance", {
  defaultValue: () => ({ fraction: Math.random, origin: randomOrigin, uuid: randomUUID }),
})
