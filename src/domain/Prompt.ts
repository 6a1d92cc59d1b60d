/** What a client asks: a string, or content blocks. */
import * as Schema from "effect/Schema"

export const ContentBlock = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), text: Schema.String }),
  Schema.Struct({ type: Schema.Literal("file"), path: Schema.String }),
  Schema.Struct({
    type: Schema.Literal("resource"),
    name: Schema.String,
    mimeType: Schema.String,
    data: Schema.String,
  }),
])
export type ContentBlock = typeof ContentBlock.Type

export const Prompt = Schema.Union([Schema.String, Schema.Array(ContentBlock)])
export type Prompt = typeof Prompt.Type

export { isTextual } from "./FileResource.ts"
