/**
 * Claude Code's stream-json as data: what a line is, and the messages that go the other way, each a line without its newline.
 * Knows the fields that the protocol reads and takes none of them for granted. Called by `Claude` and the files beside it.
 */
import { jsonLine } from "../domain/JsonLine.ts"
import type { JsonObject } from "./JsonObject.ts"

export const userMessage = (content: ReadonlyArray<JsonObject>, session: string): string =>
  jsonLine({ type: "user", message: { role: "user", content }, parent_tool_use_id: null, session_id: session })

export const controlRequest = (id: string, request: JsonObject): string =>
  jsonLine({ type: "control_request", request_id: id, request })

export const controlSuccess = (id: string, response: JsonObject): string =>
  jsonLine({ type: "control_response", response: { subtype: "success", request_id: id, response } })

export const controlFailure = (id: string, error: string): string =>
  jsonLine({ type: "control_response", response: { subtype: "error", request_id: id, error } })
