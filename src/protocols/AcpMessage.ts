/**
 * The few shapes of the Agent Client Protocol, version 1, that creche reads, as an agent may send them: every field is
 * looked at before it is believed. Pure; used by the Acp files alone.
 */

import { isObject, objectOf, objectsOf, type JsonObject } from "./JsonObject.ts"

export const nonEmptyOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined

/** Nothing, or an object or array with nothing in it. */
export const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (typeof value === "object" && (Array.isArray(value) ? value : Object.keys(value)).length === 0)

/** What an agent says of itself in its answer to `initialize`. */
export interface AcpAgent {
  readonly load: boolean
  readonly resume: boolean
  readonly fork: boolean
  /** It takes a system prompt when a conversation is opened: not all of them do. */
  readonly systemPrompt: boolean
  readonly image: boolean
  readonly audio: boolean
  readonly embeddedContext: boolean
  /** It tells what its process has cost, not the conversation: an earlier one costs nothing. */
  readonly costsAnew: boolean
  /** Ids of the ways to authenticate. */
  readonly authMethods: ReadonlyArray<string>
}

export const unknownAgent: AcpAgent = {
  load: false,
  resume: false,
  fork: false,
  systemPrompt: false,
  image: false,
  audio: false,
  embeddedContext: false,
  costsAnew: false,
  authMethods: [],
}

export const agentOf = (initialized: JsonObject): AcpAgent => {
  const can = objectOf(initialized["agentCapabilities"])
  const prompts = objectOf(can["promptCapabilities"])
  // An empty object says yes.
  const sessions = objectOf(can["sessionCapabilities"])
  return {
    load: can["loadSession"] === true,
    resume: isObject(sessions["resume"]),
    fork: isObject(sessions["fork"]),
    systemPrompt: isObject(sessions["systemPrompt"]),
    image: prompts["image"] === true,
    audio: prompts["audio"] === true,
    embeddedContext: prompts["embeddedContext"] === true,
    // Nothing that an agent says of itself tells; the protocol means the conversation.
    costsAnew: objectOf(initialized["agentInfo"])["name"] === "@agentclientprotocol/claude-agent-acp",
    authMethods: objectsOf(initialized["authMethods"]).flatMap(({ id }) => nonEmptyOf(id) ?? []),
  }
}

/** How a model is chosen in a session just opened: what to ask for; null: it is that model already; undefined: no way. */
export const modelRequest = (
  opened: JsonObject,
  sessionId: string,
  model: string,
): { readonly method: string; readonly params: JsonObject } | null | undefined => {
  const option = objectsOf(opened["configOptions"]).find(({ category, id }) => category === "model" || id === "model")
  const configId = nonEmptyOf(option?.["id"])
  if (option !== undefined && configId !== undefined) {
    if (option["currentValue"] === model) return null
    return { method: "session/set_config_option", params: { sessionId, configId, value: model } }
  }
  // As agents had it before there were options.
  const models = opened["models"]
  if (!isObject(models)) return undefined
  return models["currentModelId"] === model
    ? null
    : { method: "session/set_model", params: { sessionId, modelId: model } }
}
