/** A prompt for people: its text; of a file its path, of a resource its name. Not what an agent is given. Loads no effect. */
import type { Prompt } from "../domain/Prompt.ts"

export const promptText = (prompt: Prompt): string =>
  typeof prompt === "string"
    ? prompt
    : prompt
        .map((block) => {
          switch (block.type) {
            case "text":
              return block.text
            case "file":
              return `[file ${block.path}]`
            case "resource":
              return `[${block.mimeType} ${block.name}]`
          }
        })
        .join("\n")
