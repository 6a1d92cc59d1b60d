/**
 * What a tool answers with: text for the model and `structuredContent`, which is the contract's own result. Failures are
 * results too, with `isError`, the tag and what to do about it. Pure; called by `McpCalls`.
 */
import type { ErrorTag } from "./ErrorCodes.ts"
import { inTools, type ToolName } from "./McpTools.ts"
import { isUpstreamError } from "./McpUpstream.ts"
import type { WireList, WirePage } from "./Contract.ts"
import type { WireRequest, WireSession, WireTurn } from "./Wire.ts"

export interface ToolResult {
  readonly content: ReadonlyArray<{ readonly type: "text"; readonly text: string }>
  readonly structuredContent: Readonly<Record<string, unknown>>
  readonly isError?: true
}

const result = (text: string, value: object, isError = false): ToolResult => ({
  content: [{ type: "text", text }],
  structuredContent: value as Readonly<Record<string, unknown>>,
  ...(isError ? { isError: true } : {}),
})

/** What the one who called can do about it, in tools. */
const remedies: Readonly<Record<ErrorTag, string>> = {
  InvalidParams: "Put the named fields right and call again.",
  SessionNotFound: "session_list shows the sessions there are; session_start starts one.",
  TurnNotFound: "session_history lists the turns of a session.",
  TemplateNotFound: "template_list shows the templates there are.",
  SupervisorNotFound:
    "Leave supervisor out, or use root; runtime_tree shows those there are, supervisor_start starts one.",
  RequestNotFound: "It was answered already, or its turn ended; session_get lists pendingRequests.",
  SubscriptionNotFound: "It is over.",
  SessionAlreadyExists: 'Choose another name, or pass ifExists: "return".',
  SupervisorAlreadyExists: "supervisor_stop ends it first; or give the settings that it has.",
  MailboxFull: "Call again when some of its turns have ended.",
  SessionNotRunning: "session_restart starts it again.",
  SpawnFailed: "Put the named field of the spec right and call session_start again.",
  NotReady: "stderrTail holds what it wrote last; put that right and start it again.",
  RestartIntensityReached: "session_transcript tells why it died; session_restart starts it again.",
  Unauthorized: "The host of this server has to be given a valid token.",
  Forbidden: "This is not allowed here; ask whoever runs this runtime.",
  Draining: "The runtime is about to end; try again once it is back.",
  LimitReached: "Wait until something ended, or stop a session that is not needed.",
  Unsupported: "This session's protocol, or this version of creche, cannot do it.",
  StoreUnavailable: "Try again; if it stays so, whoever runs the runtime has to look at its disk.",
}

/** Of failures that are the way's, not the runtime's. */
const onTheWay: Readonly<Record<string, string>> = {
  NoRuntime: "The next call looks for it again.",
  OtherRuntime: "Name the right socket with --socket where this server is configured.",
  ConnectionLost:
    "The runtime ended or was restarted; the next call connects again. A turn that was accepted is not lost: session_history lists it, turn_wait waits for it.",
  RequestCancelled: "The waiting was given up; a turn that was accepted goes on.",
  MessageTooLarge: "Send less at a time.",
  InternalError: "This is a bug in creche; the runtime's log has its cause.",
}

const remedyFor = (tag: string): string | undefined =>
  Object.hasOwn(remedies, tag) ? remedies[tag as ErrorTag] : onTheWay[tag]

/** undefined: no failure that anybody expected. */
export const failedResult = (error: unknown): ToolResult | undefined => {
  if (!isUpstreamError(error)) return undefined
  const { code, data } = error
  const message = inTools(error.message)
  const remedy = remedyFor(data.tag)
  const tail = data["stderrTail"]
  const lines = [
    `${data.tag}: ${message}`,
    ...(typeof tail === "string" && tail.trim() !== "" ? [`It wrote to stderr: ${tail.trimEnd()}`] : []),
    ...(remedy === undefined ? [] : [remedy]),
  ]
  return result(
    lines.join("\n"),
    { error: { ...data, code, message, ...(remedy === undefined ? {} : { remedy }) } },
    true,
  )
}

/** The same shape with the few fields of the spec that tell sessions apart. */
export const briefSession = (session: WireSession) => {
  const { template, command, args, cwd, protocol, task, tags } = session.spec
  return { ...session, spec: { template, command, args, cwd, protocol, task, tags }, deaths: [] }
}

const sessionLine = ({ name, status, spec, turns, pendingRequests }: WireSession): string => {
  const open = turns.queued + turns.running
  return [
    `${name}: ${status}`,
    `protocol ${spec.protocol.type}`,
    ...(open === 0 ? [] : [`${open} open ${open === 1 ? "turn" : "turns"}`]),
    ...(pendingRequests.length === 0 ? [] : [`${pendingRequests.length} permission requests wait`]),
  ].join(", ")
}

const isSession = (value: object): value is WireSession => "incarnation" in value && "spec" in value

const isOpen = ({ status }: WireTurn): boolean => status === "queued" || status === "running"

const turnLine = ({ id, status, text, error }: WireTurn): string =>
  [
    `The turn ${id}: ${status}`,
    ...(error === null ? [] : [inTools(error.message)]),
    ...(text === "" ? [] : [text]),
  ].join("\n")

/** Of an input that a model is to judge; the whole of it is in `structuredContent`. */
const inputChars = 2000

const requestLine = (session: string, { request, tool, input, options }: WireRequest): string =>
  `It asks for leave: ${tool} ${(JSON.stringify(input) ?? "").slice(0, inputChars)}. Answer with permission_answer {"session": ${JSON.stringify(session)}, "request": ${JSON.stringify(request)}, "outcome": "allow" or "deny"${
    options.length === 0 ? "" : `, or one of ${options.map(({ id }) => JSON.stringify(id)).join(", ")}`
  }}.`

/** A turn that was waited for. One that ended without an answer is an error, but keeps its shape. */
export const turnResult = (turn: WireTurn, session?: WireSession): ToolResult => {
  switch (turn.status) {
    case "completed":
      return result(turn.text, turn)
    case "queued":
    case "running": {
      const pendingRequests = session?.pendingRequests ?? []
      const asks = pendingRequests.map((request) => requestLine(session?.name ?? turn.session, request))
      const next = [...asks, `turn_wait {"turn": ${JSON.stringify(turn.id)}} waits for its end.`].join("\n")
      // Some hosts show their model the structure alone.
      return result(`The turn ${turn.id} is ${turn.status}.\n${next}`, { ...turn, pendingRequests, next })
    }
    default: {
      const why = turn.error === null ? "" : `: ${inTools(turn.error.message)}`
      const said = turn.text === "" ? "" : `\nUp to then it said:\n${turn.text}`
      return result(`The turn ${turn.id} ended as ${turn.status}${why}${said}`, turn, true)
    }
  }
}

export const plainResult = (tool: ToolName, value: object): ToolResult => {
  switch (tool) {
    case "session_list": {
      const { sessions, nextCursor } = value as WireList
      const lines = sessions.map(sessionLine)
      if (nextCursor !== null) lines.push(`There are more: pass cursor ${JSON.stringify(nextCursor)}.`)
      return result(lines.length === 0 ? "There are no sessions." : lines.join("\n"), value)
    }
    case "session_transcript": {
      const { entries, nextAfter } = value as WirePage
      const lines = entries.map((entry) => JSON.stringify(entry))
      return result([...lines, `nextAfter: ${nextAfter}`].join("\n"), value)
    }
    case "session_tell":
      return isOpen(value as WireTurn) ? turnResult(value as WireTurn) : result(turnLine(value as WireTurn), value)
    case "session_cancel":
    case "turn_get":
      return result(turnLine(value as WireTurn), value)
    default:
      return result(isSession(value) ? `${sessionLine(value)}, id ${value.id}` : JSON.stringify(value), value)
  }
}
