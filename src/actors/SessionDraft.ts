/**
 * One step under construction: a copy of the state that the transition may change, and the actions it
 * collects. Private to the transition, which is pure when seen from outside.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { TranscriptBody, TranscriptEntry } from "../domain/Transcript.ts"
import type { TerminalTurnStatus, Turn, TurnError, Usage } from "../domain/Turn.ts"
import type { SessionAction } from "./SessionEvent.ts"
import { type OpenRequest, type PendingTurn, type SessionState, statusOf, type Phase } from "./SessionState.ts"

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export interface Draft extends Mutable<SessionState> {
  readonly id: SessionId
}

export interface Ended {
  readonly status: TerminalTurnStatus
  readonly text: string
  readonly stopReason: string | null
  readonly error?: TurnError | undefined
  readonly usage?: Usage | undefined
}

export class Step {
  readonly draft: Draft
  readonly actions: Array<SessionAction> = []
  /** The steady clock, for deadlines. */
  readonly now: number

  constructor(state: SessionState, now: number) {
    this.draft = { ...state }
    this.now = now
  }

  /** The wall clock, for the record. */
  get at(): number {
    return this.now + this.draft.skewMs
  }

  act(action: SessionAction): void {
    this.actions.push(action)
  }

  /** Appends the next entry of the transcript and returns its `seq`. */
  append(body: TranscriptBody, turn?: TurnId): number {
    const { draft } = this
    const seq = ++draft.seq
    const { id: session, incarnation } = draft
    const { at } = this
    const head = turn === undefined ? { session, seq, at, incarnation } : { session, seq, at, incarnation, turn }
    // A spread at the end of a literal takes four times as long, and this is done for every entry.
    const entry: TranscriptEntry = Object.assign(head, body)
    this.actions.push({ type: "append", entry })
    return seq
  }

  /** Goes to a phase, with a `status` entry where clients see another status than before (`busy` and `ready` apart). */
  enter(phase: Phase, detail?: string): void {
    const { draft } = this
    const before = statusOf(draft.phase)
    draft.phase = phase
    const after = statusOf(phase)
    if (before === after || after === "busy" || (before === "busy" && after === "ready")) return
    this.append(detail === undefined ? { type: "status", status: after } : { type: "status", status: after, detail })
  }

  /** Takes a turn in: from here on it ends exactly once. */
  accept(pending: PendingTurn): PendingTurn {
    const seq = this.append({ type: "turn/queued", prompt: pending.turn.prompt }, pending.turn.id)
    const turn: Turn = { ...pending.turn, queuedAt: this.at, firstSeq: seq, lastSeq: seq }
    this.draft.lastActiveAt = this.at
    this.actions.push({ type: "save", turn }, { type: "accepted", turn })
    const { dueAt } = pending
    this.watch(dueAt)
    return { turn, attempts: 0, dueAt }
  }

  /** A turn with this deadline is in the queue now. */
  watch(dueAt: number | null): void {
    if (dueAt !== null) this.draft.queueDueAt = Math.min(dueAt, this.draft.queueDueAt ?? dueAt)
  }

  /** The one place where a permission request is settled. */
  resolve(open: OpenRequest, outcome: string, by: string): void {
    const { draft } = this
    draft.requests = draft.requests.filter((other) => other !== open)
    this.append({ type: "permission/resolved", request: open.request, outcome, by }, open.turn ?? undefined)
    // While it waited for an answer its silence was not its own.
    const { phase } = draft
    if (phase._tag === "Busy") draft.phase = { ...phase, running: { ...phase.running, lastOutputAt: this.now } }
  }

  /** Settles the requests that nobody needs to answer any more: those of a turn, or all. */
  abandonRequests(by: string, turn?: TurnId): void {
    for (const open of this.draft.requests) {
      if (turn === undefined || open.turn === turn) this.resolve(open, "cancelled", by)
    }
  }

  /** The one place where a turn ends. */
  end(pending: PendingTurn, ended: Ended): Turn {
    const { at, draft } = this
    const { turn } = pending
    const { status, text, stopReason, error, usage } = ended
    const durationMs = Math.max(0, at - (turn.startedAt ?? turn.queuedAt))
    const plain = { type: "turn/ended", status, text, stopReason, durationMs } as const
    const body: TranscriptBody & { type: "turn/ended" } =
      error === undefined && usage === undefined
        ? plain
        : {
            ...plain,
            ...(error === undefined ? undefined : { error }),
            ...(usage === undefined ? undefined : { usage }),
          }
    const seq = this.append(body, turn.id)
    const done: Turn = {
      ...turn,
      status,
      text,
      stopReason,
      error: error ?? null,
      usage: usage ?? null,
      endedAt: at,
      lastSeq: seq,
    }
    if (status === "completed") draft.completed++
    else draft.failed++
    if (usage !== undefined) draft.usage = addUsage(draft.usage, usage)
    draft.lastActiveAt = at
    this.actions.push({ type: "save", turn: done }, { type: "ended", turn: done })
    return done
  }
}

const addUsage = (sum: Usage | null, more: Usage): Usage => {
  const total: Record<string, number> = { ...sum }
  for (const [unit, amount] of Object.entries(more)) total[unit] = (total[unit] ?? 0) + amount
  return total
}
