/**
 * The requests of a JSON-RPC child that wait for their answers, under the names that clients know them by, and how they are
 * offered. Answers nothing itself: that is the business of `JsonRpcChild`. Pure.
 */
import type { PermissionOption } from "../domain/Permission.ts"
import type { ProtocolEvent } from "./Protocol.ts"
import type { RpcId } from "./RpcPeer.ts"

/** More do not wait at once: one more is refused. */
export const mostRequests = 100

export interface ChildRequest {
  readonly id: RpcId
  readonly method: string
  readonly params: unknown
  /** It came within the turn that runs. */
  readonly isOfTurn: boolean
}

export type ChildRequests = ReadonlyMap<string, ChildRequest>

export const noRequests: ChildRequests = new Map()

/** The option by which a client gives a result; any other refuses. */
export const resultOption = "result"

const options: ReadonlyArray<PermissionOption> = [
  { id: resultOption, name: "Answer it, with a result", kind: "allow_once" },
  { id: "reject", name: "Refuse it", kind: "reject_once" },
]

/** undefined: another one has its id, so that an answer would be one to that. */
export const offer = (
  requests: ChildRequests,
  request: ChildRequest,
): { readonly requests: ChildRequests; readonly event: ProtocolEvent } | undefined => {
  const plain = String(request.id)
  // 1 and "1" are two.
  const name = requests.has(plain) ? JSON.stringify(request.id) : plain
  if (requests.get(plain)?.id === request.id || requests.has(name)) return undefined
  const { method: tool, params: input = null } = request
  return {
    requests: new Map(requests).set(name, request),
    event: { type: "permission", request: name, tool, input, options },
  }
}

export const without = (requests: ChildRequests, name: string): ChildRequests => {
  const rest = new Map(requests)
  rest.delete(name)
  return rest
}

export const nameOf = (requests: ChildRequests, id: RpcId): string | undefined =>
  [...requests].find(([, request]) => request.id === id)?.[0]

/** Those of the turn that runs, by their names. */
export const ofTurn = (requests: ChildRequests): ReadonlyArray<readonly [string, ChildRequest]> =>
  requests.size === 0 ? [] : [...requests].filter(([, { isOfTurn }]) => isOfTurn)

export const withdrawn = (request: string): ProtocolEvent => ({ type: "permissionWithdrawn", request })
