/**
 * A commit as text, made once: for the log as it is, for the rows of the database piece by piece. What cannot be written
 * as JSON fails here, where it harms nobody else. Pure.
 */
import type { SessionId, TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { SessionSpec } from "../domain/SessionSpec.ts"
import type { Commit } from "../domain/SessionStore.ts"
import type { TranscriptEntry } from "../domain/Transcript.ts"
import type { Turn } from "../domain/Turn.ts"
import { encodeState } from "./SessionRows.ts"
import { decodeSpec, encodeSpec, type SpecText } from "./SpecText.ts"

/** What a record's row holds in columns of its own. */
export interface SessionHead {
  readonly id: SessionId
  readonly name: string
  readonly supervisor: string
  readonly task: string | null
  readonly template: string | null
  readonly status: Session["status"]
  readonly createdAt: number
  readonly lastActiveAt: number
  readonly expiresAt: number | null
  readonly seq: number
}

/** What hardly ever changes. */
export interface SessionDetails {
  readonly spec: SessionSpec
  readonly specText: SpecText
  readonly deathsJson: string
}

export interface PreparedTurn {
  readonly turn: Turn
  readonly json: string
}

export interface PreparedCommit {
  readonly head: SessionHead
  readonly stateJson: string
  /** Left out where they are as in a commit before. */
  readonly details: SessionDetails | undefined
  readonly historyJson: string | undefined
  readonly entries: ReadonlyArray<TranscriptEntry>
  /** Of each entry, without what its row says. */
  readonly entriesJson: ReadonlyArray<string>
  /** The newest state of each. */
  readonly turns: ReadonlyArray<PreparedTurn>
}

export const encodeDetails = ({ spec, deaths }: Session): SessionDetails => ({
  spec,
  specText: encodeSpec(spec),
  deathsJson: JSON.stringify(deaths),
})

export const encodeTurn = (turn: Turn): string => {
  const { id: _, session: __, firstSeq: ___, ...rest } = turn
  return JSON.stringify(rest)
}

const encodeEntry = (entry: TranscriptEntry): string => {
  const whole = JSON.stringify(entry)
  // As an actor makes them: then what the row says is a known beginning, and a copy of the rest is saved.
  const known = `{"session":"${entry.session}","seq":${entry.seq},`
  if (whole.startsWith(known)) return `{${whole.slice(known.length)}`
  const { session: _, seq: __, ...rest } = entry
  return JSON.stringify(rest)
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

export const prepareCommit = (commit: Commit, withDetails: boolean): PreparedCommit => {
  const { session, entries, turns, history } = commit
  const { expiresAt, spec } = session
  const newest = new Map<string, Turn>()
  for (const turn of turns) newest.set(turn.id, turn)
  return {
    head: {
      id: text(session.id) as SessionId,
      name: text(session.name),
      supervisor: text(session.supervisor),
      task: spec.task === null ? null : text(spec.task),
      template: spec.template === null ? null : text(spec.template),
      status: session.status,
      createdAt: number(session.createdAt),
      lastActiveAt: number(session.lastActiveAt),
      expiresAt: expiresAt === null ? null : number(expiresAt),
      seq: number(session.seq),
    },
    stateJson: encodeState(session),
    details: withDetails ? encodeDetails(session) : undefined,
    historyJson: history === undefined ? undefined : JSON.stringify(history),
    entries,
    entriesJson: entries.map(encodeEntry),
    turns: [...newest.values()].map((turn) => {
      number(turn.firstSeq)
      number(turn.lastSeq)
      return { turn, json: encodeTurn(turn) }
    }),
  }
}

export const toLogText = (commit: PreparedCommit): string => {
  const { head, stateJson, details, historyJson, entries, entriesJson, turns } = commit
  let out = `{"head":${JSON.stringify(head)},"state":${stateJson}`
  if (details !== undefined) {
    const { specText, deathsJson } = details
    out += `,"spec":${specText.shared},"own":${specText.own},"deaths":${deathsJson}`
  }
  if (historyJson !== undefined) out += `,"history":${historyJson}`
  if (entries.length > 0) out += `,"firstSeq":${entries[0]!.seq},"entries":[${entriesJson.join(",")}]`
  if (turns.length > 0) {
    const written = turns.map(({ turn, json }) => `[${JSON.stringify(turn.id)},${turn.firstSeq},${json}]`)
    out += `,"turns":[${written.join(",")}]`
  }
  return `${out}}`
}

interface LogText {
  readonly head: SessionHead
  readonly state: unknown
  readonly spec?: object
  readonly own?: object
  readonly deaths?: unknown
  readonly history?: unknown
  readonly firstSeq?: number
  readonly entries?: ReadonlyArray<object>
  readonly turns?: ReadonlyArray<readonly [TurnId, number, object]>
}

/** The commits of one record. */
export const fromLogText = (record: string): ReadonlyArray<PreparedCommit> =>
  (JSON.parse(record) as ReadonlyArray<LogText>).map(fromLog)

const detailsOf = ({ spec, own, deaths }: LogText): SessionDetails | undefined => {
  if (spec === undefined) return undefined
  const specText = { shared: JSON.stringify(spec), own: JSON.stringify(own) }
  return { spec: decodeSpec(specText.shared, specText.own), specText, deathsJson: JSON.stringify(deaths) }
}

const fromLog = (logged: LogText): PreparedCommit => {
  const { head, state, history, firstSeq = 0, entries = [], turns = [] } = logged
  const session = head.id
  return {
    head,
    stateJson: JSON.stringify(state),
    details: detailsOf(logged),
    historyJson: history === undefined ? undefined : JSON.stringify(history),
    entries: entries.map((entry, i) => ({ session, seq: firstSeq + i, ...entry }) as TranscriptEntry),
    entriesJson: entries.map((entry) => JSON.stringify(entry)),
    turns: turns.map(([id, first, rest]) => ({
      turn: { id, session, firstSeq: first, ...rest } as Turn,
      json: JSON.stringify(rest),
    })),
  }
}
