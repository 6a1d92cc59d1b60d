/** A prompt as ACP content blocks: what the agent takes of it in its own form, the rest as text. Pure; called by Acp. */
import type { ContentBlock as AcpBlock } from "@agentclientprotocol/sdk"
import { basename, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import type { ContentBlock, Prompt } from "../domain/Prompt.ts"
import type { AcpAgent } from "./AcpMessage.ts"

/** Whose `data` is the text itself; that of every other is base64. */
const isText = (mimeType: string): boolean =>
  /^(text\/|application\/(json|xml|yaml|toml|javascript|typescript|sql|graphql|x-(sh|yaml|ndjson))\b)|[+](json|xml|yaml)\b/i.test(
    mimeType,
  )

const blockOf = (block: ContentBlock, agent: AcpAgent, cwd: string): AcpBlock => {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text }
    case "file":
      // Every agent takes links, and reads them by its own tools.
      return { type: "resource_link", name: basename(block.path), uri: pathToFileURL(resolve(cwd, block.path)).href }
    case "resource": {
      const { name, mimeType, data } = block
      if (agent.image && mimeType.startsWith("image/") && !isText(mimeType)) return { type: "image", mimeType, data }
      if (agent.audio && mimeType.startsWith("audio/")) return { type: "audio", mimeType, data }
      if (!agent.embeddedContext) return { type: "text", text: `${name} (${mimeType}):\n${data}` }
      const uri = `attachment:///${encodeURIComponent(name)}`
      return { type: "resource", resource: { uri, mimeType, ...(isText(mimeType) ? { text: data } : { blob: data }) } }
    }
  }
}

/** `cwd`: absolute; paths of files are taken from there. */
export const contentBlocks = (prompt: Prompt, agent: AcpAgent, cwd: string): ReadonlyArray<AcpBlock> =>
  typeof prompt === "string" ? [{ type: "text", text: prompt }] : prompt.map((block) => blockOf(block, agent, cwd))
