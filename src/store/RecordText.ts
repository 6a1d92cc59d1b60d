/**
 * Records as JSON text, without what their rows say in columns. What nearly every commit holds is put together by hand,
 * at half the cost of JSON.stringify; all else, and whatever is not of its type, goes through that.
 */
import type { Session } from "../domain/Session.ts"
import type { TranscriptBody, TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"

/**
 * The same text in one piece. What was put together is a tree of its parts, all of which would live as long as it does,
 * and be moved about by the garbage collector; to look at a character makes one string of it.
 */
export const flat = (text: string): string => (text.charCodeAt(text.length - 1) === 0 ? "" : text)

const quote = (text: string): string => JSON.stringify(text)

/** JSON leaves out what is undefined: most of a record is null, and is null again when it is read. */
const given = <A>(value: A | null): A | undefined => value ?? undefined

export type State = Omit<
  Session,
  "id" | "name" | "supervisor" | "status" | "spec" | "createdAt" | "lastActiveAt" | "expiresAt" | "deaths" | "seq"
>

/** The changing part of a record. */
export const encodeState = (session: Session): string => {
  const { pid, incarnation, restarts, turns, containment, agentSessionId, pendingRequests, exit, usage } = session
  const { forkedFrom, suspendedBy, survivors } = session
  const state: { readonly [K in keyof State]: unknown } = {
    pid: given(pid),
    incarnation,
    restarts: restarts === 0 ? undefined : restarts,
    turns,
    containment: given(containment),
    agentSessionId: given(agentSessionId),
    forkedFrom: given(forkedFrom),
    suspendedBy: given(suspendedBy),
    pendingRequests: pendingRequests.length === 0 ? undefined : pendingRequests,
    exit: given(exit),
    survivors: survivors.length === 0 ? undefined : survivors,
    usage: given(usage),
  }
  return JSON.stringify(state)
}

export type TurnText = Omit<Turn, "id" | "session" | "firstSeq">

/** `encodeTurn` writes some by hand, and sees to it that the others are as usual: a new one must be looked at there too. */
const turnFields: Readonly<Record<keyof TurnText, true>> = {
  status: true,
  prompt: true,
  text: true,
  stopReason: true,
  usage: true,
  error: true,
  idempotencyKey: true,
  timeoutMs: true,
  attempts: true,
  queuedAt: true,
  startedAt: true,
  endedAt: true,
  lastSeq: true,
}
void turnFields

const encodeAnyTurn = (turn: Turn): string => {
  const text: { readonly [K in keyof TurnText]-?: unknown } = {
    status: turn.status,
    prompt: turn.prompt,
    text: turn.text === "" ? undefined : turn.text,
    stopReason: given(turn.stopReason),
    usage: given(turn.usage),
    error: given(turn.error),
    idempotencyKey: given(turn.idempotencyKey),
    timeoutMs: turn.timeoutMs,
    attempts: turn.attempts,
    queuedAt: turn.queuedAt,
    startedAt: given(turn.startedAt),
    endedAt: given(turn.endedAt),
    lastSeq: turn.lastSeq,
  }
  return JSON.stringify(text)
}

export const encodeTurn = (turn: Turn): string => {
  const { status, prompt, text, stopReason, usage, error, idempotencyKey, queuedAt, startedAt, endedAt, lastSeq } = turn
  const isUsual =
    typeof prompt === "string" &&
    usage === null &&
    error === null &&
    idempotencyKey === null &&
    turn.timeoutMs === undefined &&
    turn.attempts === undefined &&
    Number.isFinite(queuedAt) &&
    Number.isFinite(startedAt) &&
    (endedAt === null || Number.isFinite(endedAt))
  if (!isUsual) return encodeAnyTurn(turn)
  let out = `{"status":"${status}","prompt":${quote(prompt)}`
  if (text !== "") out += `,"text":${quote(text)}`
  if (stopReason !== null) out += `,"stopReason":${quote(stopReason)}`
  out += `,"queuedAt":${queuedAt},"startedAt":${startedAt}`
  return flat(endedAt === null ? `${out},"lastSeq":${lastSeq}}` : `${out},"endedAt":${endedAt},"lastSeq":${lastSeq}}`)
}

/** What `encodeEntry` writes by hand, with all fields: a new one must be said there too. */
type ByHand = "turn/queued" | "turn/started" | "turn/delta" | "turn/ended" | "output"
type FieldsOf<T extends ByHand> = Exclude<keyof Extract<TranscriptBody, { readonly type: T }>, "type">
const fieldsByHand: { readonly [T in ByHand]: Readonly<Record<FieldsOf<T>, true>> } = {
  "turn/queued": { prompt: true },
  "turn/started": { attempt: true },
  "turn/delta": { text: true },
  "turn/ended": { status: true, text: true, stopReason: true, error: true, usage: true, durationMs: true },
  output: { stream: true, data: true },
}
void fieldsByHand

const encodeAnyEntry = (entry: TranscriptEntry): string => {
  const { session: _, seq: __, ...rest } = entry
  return JSON.stringify(rest)
}

export const encodeEntry = (entry: TranscriptEntry): string => {
  const { at, incarnation, turn } = entry
  if (!Number.isFinite(at) || !Number.isFinite(incarnation)) return encodeAnyEntry(entry)
  const head = `{"at":${at},"incarnation":${incarnation},"type":"${entry.type}"`
  const whose = turn === undefined ? "" : `,"turn":${quote(turn)}`
  switch (entry.type) {
    case "turn/queued":
      if (typeof entry.prompt !== "string") break
      return `${head}${whose},"prompt":${quote(entry.prompt)}}`
    case "turn/started":
      if (!Number.isFinite(entry.attempt)) break
      return `${head}${whose},"attempt":${entry.attempt}}`
    case "turn/delta":
      if (typeof entry.text !== "string") break
      return `${head}${whose},"text":${quote(entry.text)}}`
    case "turn/ended": {
      const { status, text, stopReason, durationMs } = entry
      const isUsual = entry.error === undefined && entry.usage === undefined && Number.isFinite(durationMs)
      if (!isUsual || typeof text !== "string") break
      const why = stopReason === null ? "null" : quote(stopReason)
      return `${head}${whose},"status":"${status}","text":${quote(text)},"stopReason":${why},"durationMs":${durationMs}}`
    }
    case "output":
      if (typeof entry.data !== "string") break
      return `${head}${whose},"stream":"${entry.stream}","data":${quote(entry.data)}}`
    default:
  }
  return encodeAnyEntry(entry)
}
