/**
 * What does not fit the contract in a result or an event of the runtime, to the letter: also a field too many. Results are not
 * checked at run time, so tests that have one in hand do.
 */
import * as Schema from "effect/Schema"
import { strictDecoder } from "../../src/domain/StrictDecoder.ts"
import { contract, type Method } from "../../src/transport/Contract.ts"
import { Entry, MissedRange } from "../../src/transport/WireSchema.ts"

const { Literal, NullOr, Number, String, Struct, Union } = Schema
const ofRequest = { request: NullOr(Union([String, Number])), turn: String }
const Event = Union([
  Struct({ subscription: String, entry: Entry }),
  Struct({ subscription: String, missed: MissedRange }),
  Struct({ subscription: String, ended: Literal(true) }),
  Struct({ ...ofRequest, entry: Entry }),
  Struct({ ...ofRequest, missed: MissedRange }),
])

const made = new Map<Schema.Top, (value: unknown) => ReadonlyArray<string>>()
export const misfits = (schema: Schema.Top, value: unknown): ReadonlyArray<string> => {
  let check = made.get(schema)
  if (check === undefined) {
    const { decode } = strictDecoder<unknown>(schema as never)
    check = (given) => {
      const decoded = decode(given)
      return decoded._tag === "Valid"
        ? []
        : decoded.problems.map(({ path, message }) => `${path.join(".")}: ${message}; is ${at(given, path)}`)
    }
    made.set(schema, check)
  }
  return check(value)
}

const at = (value: unknown, path: ReadonlyArray<string>): string =>
  JSON.stringify(path.reduce<any>((part, key) => part?.[key], value))?.slice(0, 200) ?? "undefined"

/** As it is on the wire. */
export const resultMisfits = (method: string, value: unknown): ReadonlyArray<string> =>
  Object.hasOwn(contract, method) ? misfits(contract[method as Method].result, value) : []
export const eventMisfits = (params: unknown): ReadonlyArray<string> => misfits(Event, params)
export const entryMisfits = (entry: unknown): ReadonlyArray<string> => misfits(Entry, entry)
