/**
 * What Codex's app-server sends and takes, as far as creche reads it: every field is looked at before it is believed, for
 * another version may send another. Pure; used by the Codex files alone.
 */
import { basename, extname, resolve } from "node:path"
import type { ContentBlock, Prompt } from "../domain/Prompt.ts"
import type { Usage } from "../domain/Turn.ts"
import { objectOf, type JsonObject } from "./JsonObject.ts"

/** The fields that are neither missing nor null. */
export const present = (fields: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined))

const imageTypes: Readonly<Record<string, true>> = {
  ".png": true,
  ".jpg": true,
  ".jpeg": true,
  ".gif": true,
  ".webp": true,
}

const inputOf = (block: ContentBlock, cwd: string): JsonObject => {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text }
    case "file": {
      const path = resolve(cwd, block.path)
      // Any other file is named: the agent reads it with its own tools.
      return extname(path).toLowerCase() in imageTypes
        ? { type: "localImage", path }
        : { type: "text", text: `[${basename(path)}](${path})` }
    }
    case "resource": {
      const { name, mimeType, data } = block
      // SVG is a text, and no image to a model.
      return mimeType.startsWith("image/") && !mimeType.includes("svg")
        ? { type: "image", url: `data:${mimeType};base64,${data}` }
        : { type: "text", text: `${name} (${mimeType}):\n${data}` }
    }
  }
}

/** A prompt as the input of a turn. `cwd`: absolute; paths of files are taken from there. */
export const userInput = (prompt: Prompt, cwd: string): ReadonlyArray<JsonObject> =>
  typeof prompt === "string" ? [{ type: "text", text: prompt }] : prompt.map((block) => inputOf(block, cwd))

/** The one word that a shell reads from `text`; undefined where it would read several, or none. */
const shellWord = (text: string): string | undefined => {
  let word = ""
  let at = 0
  while (at < text.length) {
    const char = text[at]!
    if (char === "'") {
      const end = text.indexOf("'", at + 1)
      if (end < 0) return undefined
      word += text.slice(at + 1, end)
      at = end + 1
    } else if (char === '"') {
      for (at++; text[at] !== '"'; at++) {
        if (at >= text.length) return undefined
        if (text[at] === "\\" && /["\\$`]/.test(text[at + 1] ?? "")) at++
        word += text[at]
      }
      at++
    } else if (char === "\\" && at + 1 < text.length) {
      word += text[at + 1]
      at += 2
    } else if (/[\s;&|<>()$`\\#*?[\]{}~!]/.test(char)) {
      return undefined
    } else {
      word += char
      at++
    }
  }
  return text === "" ? undefined : word
}

/** What a shell is given to run, out of `/bin/bash -lc '…'`: that is what rules speak of. Any other command as it is. */
export const commandOf = (command: string): string => {
  const script = /^(?:\/\S*\/)?(?:ba|z|da|k)?sh -l?c ([^]+)$/.exec(command)?.[1]
  return (script === undefined ? undefined : shellWord(script)) ?? command
}

/** Token counts that only grow, as the agent keeps them for a thread. */
export interface TokenCount {
  readonly input: number
  readonly cached: number
  readonly cacheWrite: number
  readonly output: number
  readonly reasoning: number
}

const countOf = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0)

export const tokenCount = (value: unknown): TokenCount => {
  const fields = objectOf(value)
  return {
    input: countOf(fields["inputTokens"]),
    cached: countOf(fields["cachedInputTokens"]),
    cacheWrite: countOf(fields["cacheWriteInputTokens"]),
    output: countOf(fields["outputTokens"]),
    reasoning: countOf(fields["reasoningOutputTokens"]),
  }
}

export const tokensSince = (now: TokenCount, before: TokenCount): TokenCount => ({
  input: Math.max(0, now.input - before.input),
  cached: Math.max(0, now.cached - before.cached),
  cacheWrite: Math.max(0, now.cacheWrite - before.cacheWrite),
  output: Math.max(0, now.output - before.output),
  reasoning: Math.max(0, now.reasoning - before.reasoning),
})

/** Input that came from or went to a cache is not counted as input again; reasoning is a part of the output. */
export const usageOf = ({ input, cached, cacheWrite, output, reasoning }: TokenCount): Usage => ({
  inputTokens: Math.max(0, input - cached - cacheWrite),
  outputTokens: output,
  cacheReadTokens: cached,
  cacheWriteTokens: cacheWrite,
  reasoningTokens: reasoning,
})
