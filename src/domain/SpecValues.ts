/** The kinds of values that specs are made of; their titles stand in the docs, their messages in errors. */
import * as Schema from "effect/Schema"

export const milliseconds = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({ title: "Ms" })
export const positive = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)).annotate({ title: "int ≥ 1" })
export const count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({ title: "int ≥ 0" })
export const nonEmpty = Schema.String.check(Schema.isMinLength(1, { message: "must not be empty" }))
/** exec takes C strings: a NUL byte would silently cut one short. */
export const cString = Schema.String.check(Schema.isPattern(/^[^\0]*$/u, { message: "must not contain a NUL byte" }))
export const fraction = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))
