/** The items of a Codex turn that are work of a tool, as a transcript tells them. Pure; called by CodexTurn. */
import { commandOf, present } from "./CodexWire.ts"
import { objectOf, stringOf, type JsonObject } from "./JsonObject.ts"

export interface ToolItem {
  readonly name: string
  readonly input: JsonObject
  /** Undefined: none yet. */
  readonly output?: unknown
  /** `in_progress`, `completed`, `failed`, `declined`. */
  readonly status: string
}

const statusOf = (item: JsonObject, isDone: boolean): string => {
  const status = stringOf(item["status"])
  if (status === "inProgress") return "in_progress"
  return status ?? (isDone ? "completed" : "in_progress")
}

/** Everything of the item but what every item has. */
const rest = (item: JsonObject, ...but: ReadonlyArray<string>): JsonObject => {
  const general = ["type", "id", "status", "startedAtMs", "completedAtMs", "durationMs", ...but]
  return present(Object.fromEntries(Object.entries(item).filter(([field]) => !general.includes(field))))
}

const outputOf = (output: JsonObject): { readonly output?: JsonObject } =>
  Object.keys(output).length === 0 ? {} : { output }

/** What a tool does or did; undefined: this item is no tool's. */
export const toolItem = (item: JsonObject, isDone: boolean): ToolItem | undefined => {
  const status = statusOf(item, isDone)
  switch (item["type"]) {
    case "commandExecution": {
      const { aggregatedOutput, exitCode, durationMs } = item
      const command = commandOf(stringOf(item["command"]) ?? "")
      const output = isDone ? present({ text: aggregatedOutput, exitCode, durationMs }) : {}
      return { name: "shell", input: present({ command, cwd: item["cwd"] }), ...outputOf(output), status }
    }
    case "fileChange":
      return { name: "apply_patch", input: { changes: item["changes"] }, status }
    case "mcpToolCall": {
      const { result, error, durationMs } = item
      const name = `mcp__${stringOf(item["server"]) ?? ""}__${stringOf(item["tool"]) ?? ""}`
      const output = isDone ? present({ ...objectOf(result), error, durationMs }) : {}
      return { name, input: objectOf(item["arguments"]), ...outputOf(output), status }
    }
    case "dynamicToolCall": {
      const output = isDone ? present({ content: item["contentItems"], success: item["success"] }) : {}
      return {
        name: stringOf(item["tool"]) ?? "tool",
        input: objectOf(item["arguments"]),
        ...outputOf(output),
        status,
      }
    }
    case "collabAgentToolCall":
      return { name: stringOf(item["tool"]) ?? "agent", input: rest(item, "tool"), status }
    case "webSearch":
      return { name: "web_search", input: rest(item), status }
    case "imageView":
      return { name: "view_image", input: rest(item), status }
    case "imageGeneration":
      return { name: "image_generation", input: rest(item), status }
    default:
      return undefined
  }
}
