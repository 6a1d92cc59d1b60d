/**
 * A commit as text, made once: for the log as it is, for the rows of the database piece by piece. What cannot be written
 * as JSON fails here, where it harms nobody else. Pure.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session, SessionStatus } from "../domain/Session.ts"
import type { Commit } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { encodeState, encodeTurn } from "./RecordText.ts"
import type { Details, Identity, Stretch } from "./RowBatch.ts"
import { stretchesOf, emptyTurn } from "./SessionRows.ts"
import { encodeSpec } from "./SpecText.ts"

export interface PreparedTurn {
  readonly turn: Turn
  readonly json: string
}

/** What hardly ever changes of a session. */
export interface Description {
  readonly identity: Identity
  readonly details: Details
}

export interface PreparedCommit {
  readonly id: SessionId
  readonly status: SessionStatus
  readonly lastActiveAt: number
  readonly expiresAt: number | null
  readonly seq: number
  readonly stateJson: string
  /** Left out where it is as in a commit before. */
  readonly description: Description | undefined
  readonly historyJson: string | undefined
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly stretches: ReadonlyArray<Stretch>
  /** The newest state of each. */
  readonly turns: ReadonlyArray<PreparedTurn>
}

/** A number that a column must hold: anything else would only fail when the commit was acknowledged long ago. */
const number = (value: number): number => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new TypeError(`not a number: ${String(value)}`)
  return value
}

const text = (value: string): string => {
  if (typeof value !== "string") throw new TypeError(`not a string: ${String(value)}`)
  return value
}

const describe = (session: Session): Description => {
  const { name, supervisor, spec, deaths, createdAt } = session
  const { task, template, retention, limits, tags } = spec
  const { shared, own } = encodeSpec(spec)
  return {
    identity: {
      name: text(name),
      supervisor: text(supervisor),
      task: task === null ? null : text(task),
      template: template === null ? null : text(template),
      createdAt: number(createdAt),
    },
    details: {
      spec: shared,
      own,
      retention: retention === null ? null : JSON.stringify(retention),
      deaths: JSON.stringify(deaths),
      transcriptEntries: number(limits.transcriptEntries),
      transcriptBytes: limits.transcriptBytes === undefined ? null : number(limits.transcriptBytes),
      tags: Object.entries(tags).map(([key, value]) => [key, text(value)] as const),
    },
  }
}

const prepareTurn = (turn: Turn): PreparedTurn => {
  text(turn.id)
  number(turn.firstSeq)
  number(turn.lastSeq)
  return { turn, json: encodeTurn(turn) }
}

const newestOf = (turns: ReadonlyArray<Turn>): ReadonlyArray<Turn> =>
  turns.length < 2 ? turns : [...new Map(turns.map((turn) => [turn.id, turn])).values()]

export const prepareCommit = (
  { entries, turns, history }: Commit,
  session: Session,
  described: boolean,
): PreparedCommit => ({
  id: text(session.id) as SessionId,
  status: session.status,
  lastActiveAt: number(session.lastActiveAt),
  expiresAt: session.expiresAt === null ? null : number(session.expiresAt),
  seq: number(session.seq),
  stateJson: encodeState(session),
  description: described ? describe(session) : undefined,
  historyJson: history === undefined ? undefined : JSON.stringify(history),
  entries,
  stretches: stretchesOf(entries),
  turns: newestOf(turns).map(prepareTurn),
})

export const toLogText = (commit: PreparedCommit): string => {
  const { id, status, lastActiveAt, expiresAt, seq, stateJson, description, historyJson, stretches, turns } = commit
  let out = `{"id":${JSON.stringify(id)},"now":["${status}",${lastActiveAt},${expiresAt},${seq}],"state":${stateJson}`
  if (description !== undefined) {
    const { identity, details } = description
    out += `,"identity":${JSON.stringify(identity)},"details":${JSON.stringify(details)}`
  }
  if (historyJson !== undefined) out += `,"history":${historyJson}`
  if (stretches.length > 0) {
    out += `,"firstSeq":${stretches[0]!.firstSeq},"entries":[${stretches[0]!.json}`
    for (let i = 1; i < stretches.length; i++) out += `,${stretches[i]!.json}`
    out += "]"
  }
  for (let i = 0; i < turns.length; i++) {
    const { turn, json } = turns[i]!
    out += `${i === 0 ? ',"turns":[' : ","}[${JSON.stringify(turn.id)},${turn.firstSeq},${json}]`
  }
  return turns.length > 0 ? `${out}]}` : `${out}}`
}

interface LogText {
  readonly id: SessionId
  readonly now: readonly [SessionStatus, number, number | null, number]
  readonly state: unknown
  readonly identity?: Identity
  readonly details?: Details
  readonly history?: unknown
  readonly firstSeq?: number
  readonly entries?: ReadonlyArray<object>
  readonly turns?: ReadonlyArray<readonly [TurnId, number, object]>
}

/** The commits of one record. */
export const fromLogText = (record: string): ReadonlyArray<PreparedCommit> =>
  (JSON.parse(record) as ReadonlyArray<LogText>).map(fromLog)

const fromLog = (logged: LogText): PreparedCommit => {
  const { id, now, state, identity, details, history, firstSeq = 0, turns = [] } = logged
  const entries = (logged.entries ?? []).map(
    (entry, i) => ({ session: id, seq: firstSeq + i, ...entry }) as TranscriptEntry,
  )
  return {
    id,
    status: now[0],
    lastActiveAt: now[1],
    expiresAt: now[2],
    seq: now[3],
    stateJson: JSON.stringify(state),
    description: identity === undefined || details === undefined ? undefined : { identity, details },
    historyJson: history === undefined ? undefined : JSON.stringify(history),
    entries,
    stretches: stretchesOf(entries),
    turns: turns.map(([turn, first, rest]) => ({
      turn: { id: turn, session: id, firstSeq: first, ...emptyTurn, ...rest } as Turn,
      json: JSON.stringify(rest),
    })),
  }
}
