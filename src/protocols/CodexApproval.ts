/**
 * What Codex asks leave for, as a permission with options, and an option as the answer that Codex takes. Pure; called by
 * Codex. Every other request of the agent is refused there.
 */
import type { PermissionOption } from "../domain/Permission.ts"
import { commandOf, present } from "./CodexWire.ts"
import { objectOf, stringOf, type JsonObject } from "./JsonObject.ts"

export interface Approval {
  readonly tool: string
  readonly input: unknown
  readonly options: ReadonlyArray<PermissionOption>
  /** The result to answer with, by the option's id. */
  readonly answers: Readonly<Record<string, JsonObject>>
  /** Whether a client's `result` goes into the answer, and under which field. */
  readonly takes?: "content" | "answers"
}

/** The tool that an item of the turn is, where it was seen. */
export type ItemSeen = (itemId: string) => { readonly name: string; readonly input: JsonObject } | undefined

const option = (id: string, name: string, kind: string): PermissionOption => ({ id, name, kind })

const accept = option("accept", "Allow", "allow_once")
const acceptForSession = option("acceptForSession", "Allow for the rest of the session", "allow_always")
const decline = option("decline", "Deny", "reject_once")
const cancel = option("cancel", "Deny, and end the turn", "reject_once")

const decisions = { accept: { decision: "accept" }, acceptForSession: { decision: "acceptForSession" } }
const refusals = { decline: { decision: "decline" }, cancel: { decision: "cancel" } }

/** What only says which of the agent's things is meant. */
const bookkeeping = [
  ...["threadId", "turnId", "itemId", "approvalId", "startedAtMs", "environmentId", "availableDecisions"],
  ...["proposedExecpolicyAmendment", "proposedNetworkPolicyAmendments"],
]

const inputOf = (params: JsonObject): JsonObject =>
  present(Object.fromEntries(Object.entries(params).filter(([field]) => !bookkeeping.includes(field))))

const forCommand = (params: JsonObject): Approval => {
  const options = [accept, acceptForSession]
  const answers: Record<string, JsonObject> = { ...decisions, ...refusals }
  const prefix = params["proposedExecpolicyAmendment"]
  if (Array.isArray(prefix) && prefix.length > 0) {
    const id = "acceptWithExecpolicyAmendment"
    options.push(option(id, `Allow, and from now on whatever begins with: ${prefix.join(" ")}`, "allow_always"))
    answers[id] = { decision: { [id]: { execpolicy_amendment: prefix } } }
  }
  const hosts = params["proposedNetworkPolicyAmendments"]
  for (const [at, amendment] of (Array.isArray(hosts) ? hosts : []).entries()) {
    const { action, host } = objectOf(amendment)
    const id = `applyNetworkPolicyAmendment:${at}`
    const allows = action === "allow"
    const name = `${allows ? "Allow" : "Deny"}, and from now on everything to ${String(host)}`
    options.push(option(id, name, allows ? "allow_always" : "reject_always"))
    answers[id] = { decision: { applyNetworkPolicyAmendment: { network_policy_amendment: amendment } } }
  }
  options.push(decline, cancel)
  const command = stringOf(params["command"])
  const input = inputOf(params)
  return {
    tool: "shell",
    input: command === undefined ? input : { ...input, command: commandOf(command) },
    options,
    answers,
  }
}

const forPermissions = (params: JsonObject): Approval => {
  const permissions = present(objectOf(params["permissions"]))
  return {
    tool: "request_permissions",
    input: inputOf(params),
    options: [accept, acceptForSession, decline],
    answers: {
      accept: { permissions, scope: "turn" },
      acceptForSession: { permissions, scope: "session" },
      decline: { permissions: {}, scope: "turn" },
    },
  }
}

/** Each question's first option: the one that the agent recommends. */
const recommended = (questions: unknown): JsonObject =>
  Object.fromEntries(
    (Array.isArray(questions) ? questions : []).map(objectOf).flatMap(({ id, options }) => {
      const label = stringOf(objectOf(Array.isArray(options) ? options[0] : undefined)["label"])
      return typeof id === "string" && label !== undefined ? [[id, { answers: [label] }]] : []
    }),
  )

/** Undefined: no such request asks for leave. */
export const approvalFor = (method: string, params: JsonObject, seen: ItemSeen): Approval | undefined => {
  switch (method) {
    case "item/commandExecution/requestApproval":
      return forCommand(params)
    case "item/fileChange/requestApproval": {
      // The request itself does not say what is to change; its item did.
      const item = seen(stringOf(params["itemId"]) ?? "")
      return {
        tool: item?.name ?? "apply_patch",
        input: { ...item?.input, ...inputOf(params) },
        options: [accept, acceptForSession, decline, cancel],
        answers: { ...decisions, ...refusals },
      }
    }
    case "item/permissions/requestApproval":
      return forPermissions(params)
    case "mcpServer/elicitation/request":
      return {
        tool: `mcp__${stringOf(params["serverName"]) ?? ""}`,
        input: inputOf(params),
        options: [accept, decline, cancel],
        answers: {
          accept: { action: "accept", content: {}, _meta: null },
          decline: { action: "decline", content: null, _meta: null },
          cancel: { action: "cancel", content: null, _meta: null },
        },
        takes: "content",
      }
    case "item/tool/requestUserInput":
      return {
        tool: "request_user_input",
        input: inputOf(params),
        options: [option("accept", "Answer", "allow_once"), option("decline", "Do not answer", "reject_once")],
        answers: { accept: { answers: recommended(params["questions"]) }, decline: { answers: {} } },
        takes: "answers",
      }
    default:
      return undefined
  }
}

/** A client's answers to questions, each a list of texts: `{"id": "text"}`, `{"id": ["text"]}`, or in the agent's own form. */
const answersIn = (result: unknown): JsonObject =>
  Object.fromEntries(
    Object.entries(objectOf(result)).map(([id, said]) => {
      const own = objectOf(said)["answers"] ?? said
      return [id, { answers: (Array.isArray(own) ? own : [own]).map(String) }]
    }),
  )

/** The result for the agent; undefined: the request has no such option. */
export const answerFor = (approval: Approval, chosen: string, result: unknown): JsonObject | undefined => {
  const answer = Object.hasOwn(approval.answers, chosen) ? approval.answers[chosen] : undefined
  if (answer === undefined || result === undefined || approval.takes === undefined || chosen !== "accept") return answer
  return approval.takes === "content" ? { ...answer, content: result } : { answers: answersIn(result) }
}
