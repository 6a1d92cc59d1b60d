/**
 * The trace of a turn, made from its own times after it ended: nothing is traced while it runs. Pure; `supervisor` notes the
 * record down when somebody wants traces, the exporter makes spans of it.
 */
import { processOf, type SessionState } from "../actors/SessionState.ts"
import { usageKinds, type SpanName } from "../domain/Telemetry.ts"
import type { Turn } from "../domain/Turn.ts"

type Attributes = Readonly<Record<string, string | number | boolean>>

/** Small, and of a fixed size: many may wait for a collector. Times are epoch milliseconds. */
export interface TurnRecord {
  readonly attributes: Attributes
  readonly queuedAt: number
  readonly startedAt: number | null
  readonly endedAt: number
  /** When the end of the turn was on record. */
  readonly storedAt: number
  /** When its process was begun and when that was ready; null where it is gone already. */
  readonly process: { readonly begunAt: number; readonly readyAt: number } | null
  /** Processes of the session that ended while the turn was under way. */
  readonly deaths: ReadonlyArray<{ readonly at: number; readonly incarnation: number; readonly exit: string }>
}

/** Of a turn that has just ended. */
export const recordOf = (state: SessionState, turn: Turn, storedAt: number): TurnRecord => {
  const { phase, skewMs } = state
  const isThere = processOf(phase) !== null && "since" in phase
  const { queuedAt, startedAt } = turn
  return {
    attributes: attributesOf(state, turn),
    queuedAt,
    startedAt,
    endedAt: turn.endedAt ?? storedAt,
    storedAt,
    process: isThere ? { begunAt: state.begunAt + skewMs, readyAt: phase.since + skewMs } : null,
    deaths: state.deaths
      .filter(({ exit }) => exit.at >= queuedAt && exit.at <= storedAt)
      .map(({ incarnation, exit }) => ({ at: exit.at, incarnation, exit: exit.kind })),
  }
}

export interface SpanDescription {
  readonly name: SpanName
  /** null: the root. */
  readonly parent: SpanName | null
  readonly startedAt: number
  readonly endedAt: number
  readonly attributes: Attributes
  readonly events: ReadonlyArray<{ readonly name: string; readonly at: number; readonly attributes: Attributes }>
}

/** Parents come before their children, and hold them: where clocks were set meanwhile, a child is cut to fit. */
export const spansOf = (record: TurnRecord): ReadonlyArray<SpanDescription> => {
  const { attributes, queuedAt, storedAt, process, deaths } = record
  const endedAt = Math.max(queuedAt, record.endedAt)
  const over = Math.max(endedAt, storedAt)
  const startedAt = record.startedAt === null ? null : between(queuedAt, record.startedAt, endedAt)
  const waitsUntil = startedAt ?? endedAt
  const child = (name: SpanName, from: number, to: number, parent: SpanName = "turn"): SpanDescription => ({
    name,
    parent,
    startedAt: from,
    endedAt: Math.max(from, to),
    attributes: {},
    events: [],
  })
  const spans: Array<SpanDescription> = [
    {
      name: "turn",
      parent: null,
      startedAt: queuedAt,
      endedAt: over,
      attributes,
      events: deaths.map(({ at, incarnation, exit }) => ({
        name: "process ended",
        at: between(queuedAt, at, over),
        attributes: { "creche.incarnation": incarnation, "creche.exit": exit },
      })),
    },
    child("queue", queuedAt, waitsUntil),
  ]
  if (process !== null && process.readyAt > queuedAt && process.readyAt <= waitsUntil) {
    spans.push(child("wait", between(queuedAt, process.begunAt, process.readyAt), process.readyAt, "queue"))
  }
  if (startedAt !== null) spans.push(child("agent", startedAt, endedAt))
  spans.push(child("store", endedAt, over))
  return spans
}

const between = (least: number, value: number, most: number): number => Math.max(least, Math.min(value, most))

const attributesOf = ({ id, spec: { name, template } }: SessionState, turn: Turn): Attributes => ({
  "creche.turn": turn.id,
  "creche.turn.status": turn.status,
  ...(turn.error === null ? {} : { "creche.turn.error": turn.error.tag }),
  ...(turn.attempts === undefined ? {} : { "creche.turn.attempts": turn.attempts }),
  "creche.session": id,
  "creche.session.name": name,
  ...(template === null ? {} : { "creche.session.template": template }),
  ...Object.fromEntries(
    usageKinds.flatMap((kind) => {
      const amount = turn.usage?.[kind]
      return amount === undefined ? [] : [[`creche.usage.${kind}`, amount] as const]
    }),
  ),
})
