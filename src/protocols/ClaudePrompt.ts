/** A prompt as Claude's content blocks. Pure; called by `Claude`. */
import { isTextual, type ContentBlock, type Prompt } from "../domain/Prompt.ts"
import type { JsonObject } from "./JsonObject.ts"

const images = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"])

const base64 = (mimeType: string, data: string): JsonObject => ({ type: "base64", media_type: mimeType, data })

const blockOf = (block: ContentBlock): JsonObject | undefined => {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text }
    case "file":
      // Only a path has come this far: the agent reads it by its own tools.
      return { type: "text", text: `File: ${block.path}` }
    case "resource": {
      const { name, data } = block
      const mimeType = block.mimeType.split(";", 1)[0]!.trim().toLowerCase()
      if (images.has(mimeType)) return { type: "image", source: base64(mimeType, data) }
      if (mimeType === "application/pdf") return { type: "document", source: base64(mimeType, data), title: name }
      if (isTextual(block.mimeType)) return { type: "text", text: `File ${name}:\n${data}` }
      return undefined
    }
  }
}

/** The blocks; or, as a string, why a part of the prompt cannot be given to the agent. */
export const contentOf = (prompt: Prompt): ReadonlyArray<JsonObject> | string => {
  if (typeof prompt === "string") return [{ type: "text", text: prompt }]
  const blocks: Array<JsonObject> = []
  for (const part of prompt) {
    const block = blockOf(part)
    if (block === undefined && part.type === "resource") {
      return `the attachment ${JSON.stringify(part.name)} is of the type ${part.mimeType}; Claude Code takes text, PNG, JPEG, GIF, WebP and PDF`
    }
    if (block !== undefined) blocks.push(block)
  }
  return blocks
}
