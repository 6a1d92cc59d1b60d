/** A prompt as plain text: for programs that know nothing else, for searches, for people. Pure; loads no effect. */
import { isTextual } from "./FileResource.ts"
import type { ContentBlock, Prompt } from "./Prompt.ts"

type Other = Exclude<ContentBlock, { readonly type: "text" }>

const inLines = (prompt: Prompt, textOf: (block: Other) => string): string =>
  typeof prompt === "string"
    ? prompt
    : prompt.map((block) => (block.type === "text" ? block.text : textOf(block))).join("\n")

/** For programs that know only text: a file is named by its path, a resource by its data. */
export const promptText = (prompt: Prompt): string =>
  inLines(prompt, (block) => (block.type === "file" ? block.path : block.data))

/** What it is found by: of a resource its name, and its data where that is text. */
export const searchedText = (prompt: Prompt): string =>
  inLines(prompt, (block) =>
    block.type === "file" ? block.path : isTextual(block.mimeType) ? `${block.name}\n${block.data}` : block.name,
  )

/** For people: what was attached is named. Not what an agent is given. */
export const shownText = (prompt: Prompt): string =>
  inLines(prompt, (block) => (block.type === "file" ? `[file ${block.path}]` : `[${block.mimeType} ${block.name}]`))
