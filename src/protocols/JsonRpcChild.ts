/**
 * A child that speaks JSON-RPC, as a protocol: the dialect says what tells it from others. A turn is a request with its
 * answer. The child's notifications, and whatever was not asked for, become `native` entries; its own requests are answered by
 * the dialect where it has a neutral answer, and offered to clients as permissions otherwise. What is no JSON is `output`.
 *
 * Request ids are never used twice, so a late answer meets no later prompt. A request that the child made within a turn is
 * refused when that turn ends: nobody would answer it any more.
 */
import type { TurnError } from "../domain/Turn.ts"
import { fieldsOf, type JsonRpcDialect, type Outcome, type RpcCall, type RpcReply } from "./JsonRpcDialect.ts"
import { contentOf, deepestMessage, framed } from "./JsonRpcMessage.ts"
import { mayBeInexact, parseExactly } from "./JsonRpcNumbers.ts"
import * as Requests from "./JsonRpcRequests.ts"
import { closeStdin, patienceMs, type PoliteStop } from "./PoliteStop.ts"
import type { Protocol, ProtocolEvent, Step } from "./Protocol.ts"
import * as Rpc from "./RpcPeer.ts"
import { StrayLines } from "./StrayLines.ts"

/** So much of a message that is none is shown. */
const shownChars = 1000

/** What an answer to one of our requests is for. */
type Kind = "handshake" | "turn" | "probe" | "goodbye"

interface RunningRequest {
  readonly id: number
  readonly call: RpcCall
  readonly isShort: boolean
  readonly isCancelled: boolean
}

export interface JsonRpcState {
  readonly peer: Rpc.RpcPeer<Kind>
  readonly cwd: string
  /** What the child is told once it has answered the handshake. */
  readonly greeting: RpcCall | undefined
  readonly turn: RunningRequest | null
  readonly requests: Requests.ChildRequests
}

type Native = ProtocolEvent & { readonly type: "native" }
type Written = ProtocolEvent & { readonly type: "write" }
type Answered = Extract<Rpc.RpcMessage<Kind>, { readonly type: "result" | "error" }>

const refused: RpcReply = { error: { code: -32000, message: "the request was refused" } }

const rpcError = ({ code, message, data }: Rpc.RpcError, method: string): TurnError => ({
  tag: "RpcError",
  message: `${method}: ${message} (${code})`,
  code,
  ...(data === undefined ? undefined : { data }),
})

const refusesHandshake = ({ code, message }: Rpc.RpcError): ProtocolEvent => ({
  type: "broken",
  detail: `it refused the handshake: ${message} (${code})`,
})

const native = (message: unknown): Native => ({ type: "native", message })

export const makeJsonRpcChild = (dialect: JsonRpcDialect): Protocol<JsonRpcState> => {
  const { cancel: cancelling, goodbye, handshake } = dialect
  const write = (text: string): Written => ({ type: "write", data: framed(dialect.framing, text) })
  const notify = (peer: JsonRpcState["peer"], { method, params }: RpcCall): Written =>
    write(Rpc.notification(peer, method, params))
  const reply = (peer: JsonRpcState["peer"], id: Rpc.RpcId, given: RpcReply): ProtocolEvent =>
    write("error" in given ? Rpc.failure(peer, id, given.error) : Rpc.result(peer, id, given.result))
  const refusalOf = (method: string): RpcReply => dialect.refusal?.(method) ?? refused

  /** With a header in front of it, and no output between messages, which could be anything. */
  const isBody = (frame: string): boolean => dialect.framing === "contentLength" && frame.startsWith("{")

  /** Sends a request; `events` gets it. */
  const send = (state: JsonRpcState, call: RpcCall, kind: Kind, events: Array<ProtocolEvent>): JsonRpcState => {
    const { peer, text } = Rpc.request(state.peer, call.method, call.params, kind)
    events.push(write(text))
    return { ...state, peer }
  }

  const settleRequests = (state: JsonRpcState, events: Array<ProtocolEvent>): JsonRpcState => {
    let { requests } = state
    for (const [name, { id, method }] of Requests.ofTurn(requests)) {
      events.push(reply(state.peer, id, refusalOf(method)), Requests.withdrawn(name))
      requests = Requests.without(requests, name)
    }
    return { ...state, requests }
  }

  const endTurn = (
    before: JsonRpcState,
    outcome: Pick<Outcome, "text" | "error">,
    events: Array<ProtocolEvent>,
  ): JsonRpcState => {
    if (before.turn === null) return before
    const { isCancelled, id } = before.turn
    const state = settleRequests(before, events)
    const status = isCancelled ? "cancelled" : outcome.error === undefined ? "completed" : "failed"
    events.push({
      type: "ended",
      status,
      text: outcome.text,
      stopReason: status === "completed" ? "end_turn" : status === "cancelled" ? "cancelled" : null,
      ...(outcome.error === undefined || isCancelled ? undefined : { error: outcome.error }),
    })
    const pending = new Map(state.peer.pending)
    pending.delete(id)
    return { ...state, turn: null, peer: { ...state.peer, pending } }
  }

  const answered = (
    state: JsonRpcState,
    message: Answered,
    value: unknown,
    events: Array<ProtocolEvent>,
    text: string,
  ): JsonRpcState => {
    switch (message.kind) {
      case "handshake": {
        events.push(native(value))
        if (message.type === "error") {
          events.push(refusesHandshake(message.error))
          return state
        }
        if (state.greeting !== undefined) events.push(notify(state.peer, state.greeting))
        events.push({ type: "ready" })
        return state
      }
      case "turn": {
        const { turn } = state
        if (turn === null) break
        if (message.type === "error") {
          return endTurn(state, { text: "", error: rpcError(message.error, turn.call.method) }, events)
        }
        const result = mayBeInexact(text)
          ? fieldsOf(parseExactly(text.replace(/^\uFEFF/, "")))["result"]
          : message.result
        const outcome = dialect.outcome(result, turn.call, turn.isShort)
        if (outcome.isPartial) events.push(native(value))
        return endTurn(state, outcome, events)
      }
      case "probe":
        if (state.turn?.isCancelled === true) return endTurn(state, { text: "" }, events)
        return state
      case "goodbye":
        events.push({ type: "settled" })
        return state
    }
    events.push(native(value))
    return state
  }

  const requested = (
    state: JsonRpcState,
    { id, method, params }: Pick<Requests.ChildRequest, "id" | "method" | "params">,
    value: unknown,
    events: Array<ProtocolEvent>,
  ): JsonRpcState => {
    const { peer, requests, turn } = state
    const neutral = dialect.neutral?.(method, params, state.cwd)
    if (neutral !== undefined || requests.size >= Requests.mostRequests) {
      if (method !== dialect.heartbeat) events.push(native(value))
      events.push(reply(peer, id, neutral ?? refusalOf(method)))
      return state
    }
    const offered = Requests.offer(requests, { id, method, params, isOfTurn: turn !== null })
    events.push(offered?.event ?? native(value))
    return offered === undefined ? state : { ...state, requests: offered.requests }
  }

  const notified = (
    state: JsonRpcState,
    { method, params }: RpcCall,
    value: unknown,
    events: Array<ProtocolEvent>,
  ): JsonRpcState => {
    events.push(native(value))
    const withdrawal = dialect.withdrawal?.(method, params)
    if (withdrawal === undefined) return state
    const { id, reply: given } = withdrawal
    const name = Requests.nameOf(state.requests, id)
    if (name === undefined) return state
    if (given !== undefined) events.push(reply(state.peer, id, given))
    events.push(Requests.withdrawn(name))
    return { ...state, requests: Requests.without(state.requests, name) }
  }

  /** It could not even read what we sent, and answers without an id: nobody else than what waits can be meant. */
  const unread = (state: JsonRpcState, value: unknown, events: Array<ProtocolEvent>): JsonRpcState => {
    const { id, error, method } = fieldsOf(value)
    if (id !== null || method !== undefined || typeof error !== "object" || error === null) return state
    const given = Rpc.errorOf(error)
    if (state.turn !== null) return endTurn(state, { text: "", error: rpcError(given, state.turn.call.method) }, events)
    if ([...state.peer.pending.values()].includes("handshake")) events.push(refusesHandshake(given))
    return state
  }

  /** `text`: of the message alone. */
  const received = (state: JsonRpcState, value: unknown, events: Array<ProtocolEvent>, text: string): JsonRpcState => {
    const message = Rpc.receiveValue(state.peer, value)
    switch (message.type) {
      case "result":
      case "error":
        return answered({ ...state, peer: message.peer }, message, value, events, text)
      case "request":
        return requested(state, message, value, events)
      case "notification":
        return notified(state, message, value, events)
      case "stray":
        events.push(native(value))
        return unread(state, value, events)
    }
  }

  const cancel = (before: JsonRpcState, { call, until }: NonNullable<typeof cancelling>): Step<JsonRpcState> => {
    if (before.turn === null || before.turn.isCancelled) return { state: before, events: [] }
    const events: Array<ProtocolEvent> = []
    // It may wait for one of these before it heeds the cancel.
    let state = settleRequests({ ...before, turn: { ...before.turn, isCancelled: true } }, events)
    events.push(notify(state.peer, call(before.turn.id)))
    if (until === "sent") state = endTurn(state, { text: "" }, events)
    else if (until !== "answer") state = send(state, until, "probe", events)
    return { state, events }
  }

  const politeStop = (before: JsonRpcState, farewell: NonNullable<typeof goodbye>): PoliteStop<JsonRpcState> => {
    if (farewell === "eof") return { state: before, steps: [closeStdin] }
    // Before it is initialized it may be told nothing else.
    if ([...before.peer.pending.values()].includes("handshake")) return { state: before, steps: [] }
    const { peer, text } = Rpc.request(before.peer, farewell.request.method, farewell.request.params, "goodbye")
    const { data } = write(text)
    const { data: after } = notify(peer, farewell.after)
    return {
      state: { ...before, peer },
      steps: [
        { type: "write", data, until: "settled", patienceMs },
        { type: "write", data: after, until: "exit", patienceMs },
      ],
    }
  }

  return {
    name: dialect.name,
    framing: dialect.framing,
    start: (context) => {
      const hello = handshake?.(context)
      const state: JsonRpcState = {
        peer: Rpc.makePeer<Kind>(dialect.isMarked),
        cwd: context.cwd,
        greeting: hello?.after,
        turn: null,
        requests: Requests.noRequests,
      }
      if (hello === undefined) return { state, events: [{ type: "ready" }] }
      const events: Array<ProtocolEvent> = []
      return { state: send(state, hello.request, "handshake", events), events }
    },
    prompt: (state, prompt) => {
      const id = state.peer.nextId
      const asking = dialect.ask(prompt, id)
      switch (asking.type) {
        case "invalid": {
          const error = { tag: "InvalidPrompt", message: asking.message }
          return { state, events: [{ type: "ended", status: "failed", text: "", stopReason: null, error }] }
        }
        case "notification": {
          const ended = { type: "ended", status: "completed", text: "", stopReason: "sent" } as const
          return { state, events: [notify(state.peer, asking.call), ended] }
        }
        case "request": {
          const events: Array<ProtocolEvent> = []
          const sent = send(state, asking.call, "turn", events)
          const turn = { id, call: asking.call, isShort: asking.isShort, isCancelled: false }
          return { state: { ...sent, turn }, events }
        }
      }
    },
    frames: (before, frames) => {
      let state = before
      const events: Array<ProtocolEvent> = []
      const stray = new StrayLines(events)
      for (const frame of frames) {
        const content = contentOf(frame)
        if (content.type === "text") {
          stray.add(isBody(frame) && frame.length > shownChars ? frame.slice(0, shownChars) + " …" : frame)
          if (!isBody(frame)) continue
          stray.flush()
          const detail = `it sent a message of ${frame.length} characters that is no JSON: was its Content-Length wrong?`
          events.push({ type: "broken", detail })
          return { state, events }
        }
        stray.flush()
        if (content.type === "tooDeep") {
          const detail = `it sent a message that is nested more than ${deepestMessage} levels deep`
          events.push({ type: "broken", detail })
          return { state, events }
        }
        for (const value of content.values) state = received(state, value, events, content.isBatch ? "" : frame)
      }
      stray.flush()
      return { state, events }
    },
    eof: (state) => ({ state, events: [] }),
    timer: (state) => ({ state, events: [] }),
    answer: (state, name, option, result) => {
      const request = state.requests.get(name)
      if (request === undefined) return { state, events: [] }
      const { id, method, params } = request
      const given: RpcReply =
        option === Requests.resultOption
          ? { result: result === undefined ? (dialect.consent?.(method, params) ?? null) : result }
          : refusalOf(method)
      const requests = Requests.without(state.requests, name)
      return { state: { ...state, requests }, events: [reply(state.peer, id, given)] }
    },
    ...(cancelling === undefined ? undefined : { cancel: (state) => cancel(state, cancelling) }),
    ...(goodbye === undefined ? undefined : { politeStop: (state) => politeStop(state, goodbye) }),
  }
}
