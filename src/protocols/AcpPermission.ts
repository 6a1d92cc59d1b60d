/**
 * What an ACP agent asks leave for: its requests under the names that they have at the port, the agent's own options as they
 * come, and the answers. Pure; called by Acp.
 */
import type { RequestPermissionResponse } from "@agentclientprotocol/sdk"
import type { PermissionOption } from "../domain/Transcript.ts"
import { nonEmptyOf } from "./AcpMessage.ts"
import { objectOf, objectsOf, type JsonObject } from "./JsonObject.ts"
import { write, type AcpState, type Events } from "./AcpState.ts"
import { asksFor } from "./AcpTurn.ts"
import * as RpcPeer from "./RpcPeer.ts"
import type { RpcId } from "./RpcPeer.ts"

const cancelled: RequestPermissionResponse = { outcome: { outcome: "cancelled" } }

const optionsOf = (value: unknown): ReadonlyArray<PermissionOption> =>
  objectsOf(value).flatMap(({ optionId, name, kind }) => {
    const id = nonEmptyOf(optionId)
    return id === undefined ? [] : [{ id, name: nonEmptyOf(name) ?? id, kind: nonEmptyOf(kind) ?? "" }]
  })

const without = (state: AcpState, request: string): AcpState => {
  const requests = new Map(state.requests)
  requests.delete(request)
  return { ...state, requests }
}

/** The agent asks. `message`: all that it said. */
export const requested = (
  state: AcpState,
  id: RpcId,
  params: JsonObject,
  message: unknown,
  events: Events,
): AcpState => {
  const { phase, peer } = state
  const turn = phase.tag === "prompting" ? phase.turn : undefined
  // One that has its id twice waits for one answer, and it will get it.
  const isKnown = [...state.requests.values()].some((open) => open.id === id)
  if (turn?.cancelling === true || isKnown) {
    events.push({ type: "native", message })
    if (!isKnown) write(events, RpcPeer.result(peer, id, cancelled))
    return state
  }
  // The ids 1 and "1" are two.
  const request = state.requests.has(String(id)) ? `${typeof id} ${id}` : String(id)
  const { tool, input } = asksFor(objectOf(params["toolCall"]), turn)
  const options = optionsOf(params["options"])
  events.push({ type: "permission", request, tool, input, options })
  return { ...state, requests: new Map(state.requests).set(request, { id, options }) }
}

export const answer = (state: AcpState, request: string, option: string, events: Events): AcpState => {
  const open = state.requests.get(request)
  if (open === undefined) return state
  // One may be named by what it means.
  const own = open.options.find(({ id }) => id === option) ?? open.options.find(({ kind }) => kind === option)
  const answered: RequestPermissionResponse = { outcome: { outcome: "selected", optionId: own?.id ?? option } }
  write(events, RpcPeer.result(state.peer, open.id, answered))
  return without(state, request)
}

/** The agent takes a request of its own back; it is answered all the same, as the protocol wants it. */
export const takenBack = (state: AcpState, params: JsonObject, events: Events): AcpState => {
  for (const [request, { id }] of state.requests) {
    if (id !== params["requestId"]) continue
    write(events, RpcPeer.result(state.peer, id, cancelled))
    events.push({ type: "permissionWithdrawn", request })
    return without(state, request)
  }
  return state
}

/** The turn is given up: all that is open is answered, which the port need not be told. */
export const cancelAll = (state: AcpState, events: Events): AcpState => {
  if (state.requests.size === 0) return state
  for (const { id } of state.requests.values()) write(events, RpcPeer.result(state.peer, id, cancelled))
  return { ...state, requests: new Map() }
}

/** The turn is over: nobody waits for its permissions any more, whether or not the agent still does. */
export const withdrawAll = (state: AcpState, events: Events): AcpState => {
  for (const request of state.requests.keys()) events.push({ type: "permissionWithdrawn", request })
  return cancelAll(state, events)
}
