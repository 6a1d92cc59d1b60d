/**
 * A prompt that is a JSON-RPC call: JSON text `{"method", "params"?}`, with `"notify": true` for a notification. Says what is
 * wrong with any other, so that the child need not be bothered. Pure; read by the dialects of `JsonRpcChild`.
 */
import type { Prompt } from "../domain/Prompt.ts"
import { promptText } from "../domain/PromptText.ts"
import { parseExactly } from "./JsonRpcNumbers.ts"
import { deepestMessage, isNoDeeperThan } from "./JsonRpcMessage.ts"
import type { Asking } from "./JsonRpcDialect.ts"

const invalid = (message: string): Asking => ({ type: "invalid", message })

const form = '{"method": NAME, "params": {…} or […], "notify"?: true}'

/** What else a whole message has: taken, and of no effect. The id is the protocol's own. */
const ignored = new Set(["jsonrpc", "id"])

/** The JSON object that a prompt is, or what is wrong with it. `wanted`: the forms that are taken, for the message. */
export const promptObject = (prompt: Prompt, wanted: string): Readonly<Record<string, unknown>> | string => {
  let value: unknown
  try {
    value = parseExactly(promptText(prompt))
  } catch (error) {
    return `the prompt must be JSON, ${wanted}: ${(error as Error).message}`
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return `the prompt must be a JSON object, ${wanted}`
  }
  if (!isNoDeeperThan(value, deepestMessage)) return `the prompt may be nested ${deepestMessage} levels deep`
  return value as Readonly<Record<string, unknown>>
}

/** What a call in the long form asks for. */
export const readCall = (object: Readonly<Record<string, unknown>>): Asking => {
  const { method, params, notify, ...rest } = object
  if (typeof method !== "string" || method === "") return invalid(`the prompt must be ${form}: "method" is missing`)
  if (params !== undefined && (typeof params !== "object" || params === null)) {
    return invalid('"params" must be an object or an array; leave it out where there are none')
  }
  if (notify !== undefined && typeof notify !== "boolean") return invalid('"notify" must be true or false')
  const unknown = Object.keys(rest).filter((name) => !ignored.has(name))
  if (unknown.length > 0) {
    return invalid(`${unknown.map((name) => JSON.stringify(name)).join(", ")}: no such field; a prompt is ${form}`)
  }
  const call = params === undefined ? { method } : { method, params }
  return notify === true ? { type: "notification", call } : { type: "request", call, isShort: false }
}

export const readPrompt = (prompt: Prompt): Asking => {
  const object = promptObject(prompt, form)
  return typeof object === "string" ? invalid(object) : readCall(object)
}
