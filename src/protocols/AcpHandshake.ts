/**
 * How an ACP conversation is opened: `initialize`, then a new session, or an earlier one resumed, loaded or forked; before
 * it `authenticate`, where the agent wants that, and after it the choice of a model. Pure; called by Acp.
 */
import type { NewSessionRequest, ResumeSessionRequest } from "@agentclientprotocol/sdk"
import { agentOf, modelRequest, nonEmptyOf } from "./AcpMessage.ts"
import type { JsonObject } from "./JsonObject.ts"
import { ask, broken, type AcpState, type Asked, type Events, type Opening } from "./AcpState.ts"
import type { RpcError } from "./RpcPeer.ts"

/** So long without a word of the past, and loading is over: there are agents that answer first and tell afterwards. */
export const settleMs = 100

const authRequired = -32000

const inWords = ({ code, message, data }: RpcError): string =>
  `${message} (${code}${data === undefined ? "" : `, ${JSON.stringify(data).slice(0, 500)}`})`

const open = (state: AcpState, by: Opening, events: Events): AcpState => {
  const { cwd, from, systemPrompt } = state
  const fresh = { cwd, mcpServers: [] } satisfies NewSessionRequest
  // Resumed, loaded and forked alike.
  const params =
    by === "session/new" ? fresh : ({ ...fresh, sessionId: from!.conversation } satisfies ResumeSessionRequest)
  const prompt =
    systemPrompt === null ? {} : { systemPrompt: { mode: "append", content: [{ type: "text", text: systemPrompt }] } }
  return ask({ ...state, phase: { tag: "opening", by, session: null } }, by, by, { ...params, ...prompt }, events)
}

/** Undefined: the agent cannot do what is wanted. */
const openingOf = ({ from, agent }: AcpState): Opening | undefined => {
  if (from === null) return "session/new"
  if (from.fork) return agent.fork ? "session/fork" : undefined
  return agent.resume ? "session/resume" : agent.load ? "session/load" : "session/new"
}

export const ready = (state: AcpState, session: string, events: Events): AcpState => {
  if (state.told) events.push({ type: "conversation", id: session })
  events.push({ type: "ready" })
  return { ...state, phase: { tag: "idle", session } }
}

/** The conversation is open; a loaded one may not be through with the past. */
const opened = (state: AcpState, by: Opening, session: string, now: number, events: Events): AcpState => {
  if (by !== "session/load") return ready(state, session, events)
  events.push({ type: "deadline", at: now + settleMs })
  return { ...state, phase: { tag: "settling", session } }
}

const wantAuthentication = (state: AcpState, by: Opening, error: RpcError, events: Events): AcpState => {
  const methods = state.agent.authMethods
  if (methods.length === 0) {
    return broken(state, `the agent wants to be logged in, and offers no way to do it here: ${inWords(error)}`, events)
  }
  events.push({ type: "authenticate", methods })
  return { ...state, phase: { tag: "authenticating", by } }
}

/** The agent answered a request of the handshake. */
export const answered = (
  state: AcpState,
  asked: Exclude<Asked, "session/prompt">,
  answer: JsonObject,
  model: string | undefined,
  now: number,
  events: Events,
): AcpState => {
  const { phase } = state
  switch (asked) {
    case "initialize": {
      const version = answer["protocolVersion"]
      if (version !== 1) {
        return broken(state, `the agent speaks version ${JSON.stringify(version)} of ACP, and creche version 1`, events)
      }
      const next = { ...state, agent: agentOf(answer) }
      const by = openingOf(next)
      if (by === undefined) return broken(next, "the agent cannot fork a conversation", events)
      if (next.systemPrompt !== null && !next.agent.systemPrompt) {
        const detail = "the agent takes no system prompt over ACP; tell it in a file that it reads, or leave it out"
        return broken(next, detail, events)
      }
      const told = by === "session/resume" || by === "session/load"
      // A new conversation has cost nothing; of one that goes on the record knows, and of any other nobody does.
      const cost = by === "session/new" || next.agent.costsAnew ? 0 : by === "session/fork" ? null : next.cost
      return open({ ...next, told, cost }, by, events)
    }
    case "authenticate":
      return phase.tag === "opening" ? open(state, phase.by, events) : state
    case "session/new":
    case "session/resume":
    case "session/load":
    case "session/fork": {
      const isSame = asked === "session/resume" || asked === "session/load"
      const session = isSame ? state.from!.conversation : nonEmptyOf(answer["sessionId"])
      if (session === undefined) return broken(state, `the agent answered ${asked} without a sessionId`, events)
      const wanted = model === undefined ? null : modelRequest(answer, session, model)
      if (wanted === undefined) return broken(state, "the agent offers no choice of a model", events)
      if (wanted === null) return opened(state, asked, session, now, events)
      const next: AcpState = { ...state, phase: { tag: "opening", by: asked, session } }
      return ask(next, "model", wanted.method, wanted.params, events)
    }
    case "model":
      return phase.tag === "opening" && phase.session !== null
        ? opened(state, phase.by, phase.session, now, events)
        : state
  }
}

/** The agent answered a request of the handshake with an error. */
export const refused = (
  state: AcpState,
  asked: Exclude<Asked, "session/prompt">,
  error: RpcError,
  events: Events,
): AcpState => {
  const { phase } = state
  if (phase.tag !== "opening") return state
  switch (asked) {
    case "authenticate":
      // Another way, or another time.
      return wantAuthentication(state, phase.by, error, events)
    case "session/new":
    case "session/resume":
    case "session/load":
    case "session/fork":
      if (error.code === authRequired) return wantAuthentication(state, asked, error, events)
      if (asked === "session/resume" && state.agent.load) return open(state, "session/load", events)
      break
    case "initialize":
    case "model":
      break
  }
  return broken(state, `the agent refused ${asked === "model" ? "that model" : asked}: ${inWords(error)}`, events)
}
