/**
 * Claude Code's `can_use_tool`: the options that a request offers, and what an answer says to the CLI. Pure; who waits for
 * the answer is not its business. Called by `Claude`.
 */
import type { PermissionOption } from "../domain/Transcript.ts"
import { isObject, objectOf, objectsOf, stringOf, type JsonObject } from "./JsonObject.ts"

export interface ClaudePermission {
  readonly tool: string
  readonly input: JsonObject
  /** What would make the CLI not ask again, for as long as its process lives; empty: nothing would. */
  readonly always: ReadonlyArray<JsonObject>
}

/**
 * Rules are narrower than a mode, so a mode is taken only where nothing else is offered. The CLI would write rules into
 * the settings of the project: they are made to end with the process, as nobody was asked about other sessions.
 */
const lasting = (suggestions: ReadonlyArray<JsonObject>): ReadonlyArray<JsonObject> => {
  const rules = suggestions.filter(({ type }) => type !== "setMode")
  return (rules.length > 0 ? rules : suggestions).map((each) => ({ ...each, destination: "session" }))
}

export const permissionIn = (request: JsonObject): ClaudePermission => ({
  tool: stringOf(request["tool_name"]) ?? "",
  input: objectOf(request["input"]),
  always: lasting(objectsOf(request["permission_suggestions"])),
})

const allow: PermissionOption = { id: "allow", name: "Allow", kind: "allow_once" }
const deny: PermissionOption = { id: "deny", name: "Deny", kind: "reject_once" }

const nameOf = (update: JsonObject): ReadonlyArray<string> => {
  const mode = stringOf(update["mode"])
  if (mode !== undefined) return [mode]
  const rules = objectsOf(update["rules"]).map(({ toolName, ruleContent }) =>
    typeof ruleContent === "string" ? `${String(toolName)}(${ruleContent})` : String(toolName),
  )
  return [...rules, ...(Array.isArray(update["directories"]) ? update["directories"].map(String) : [])]
}

export const optionsOf = ({ always }: ClaudePermission): ReadonlyArray<PermissionOption> =>
  always.length === 0
    ? [allow, deny]
    : [
        allow,
        { id: "allow_always", name: `Always allow ${always.flatMap(nameOf).join(", ")}`, kind: "allow_always" },
        deny,
      ]

/** Asks people, not for leave: its answers are a part of its input. */
const question = "AskUserQuestion"

/** What to tell the CLI. `result`: for an allowed tool another input (for a question, its answers), for a denied one why. */
export const responseTo = ({ tool, input, always }: ClaudePermission, option: string, result: unknown): JsonObject => {
  if (option === "allow" || option === "allow_always") {
    const updatedInput = !isObject(result) ? input : tool === question ? { ...input, ...result } : result
    return {
      behavior: "allow",
      updatedInput,
      ...(option === "allow_always" && always.length > 0 ? { updatedPermissions: always } : undefined),
    }
  }
  const message = stringOf(result) ?? stringOf(objectOf(result)["message"]) ?? ""
  // An empty message is refused by the model's API as the result of a tool.
  return { behavior: "deny", message: message.trim() === "" ? "The user does not allow this." : message }
}
