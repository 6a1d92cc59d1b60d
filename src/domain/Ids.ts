/**
 * The names by which sessions and turns are found. Ids are opaque to clients: a prefix, twelve random
 * characters drawn once per runtime, and a counter. A shared prefix costs no randomness per turn and
 * keeps ids of different runtimes apart. A turn's id leads to its session.
 */
import { randomBytes } from "node:crypto"

export type SessionId = string & { readonly SessionId: unique symbol }
export type TurnId = string & { readonly TurnId: unique symbol }

/** What a session may be called by a client. */
// With u, JSON schemas can say it too.
export const sessionNamePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/u

export interface Ids {
  readonly session: () => SessionId
  readonly turn: (session: SessionId) => TurnId
  readonly subscription: () => string
}

export const randomOrigin = (): string => randomBytes(6).toString("hex")

/** A source of ids. `origin` separates runtimes; give one for ids that a test can predict. */
export const makeIds = (origin: string = randomOrigin()): Ids => {
  const own = `ses_${origin}`
  let sessions = 0
  let turns = 0
  let subscriptions = 0
  return {
    session: () => `ses_${origin}${(++sessions).toString(36)}` as SessionId,
    // A session of another runtime, come back here, has turns of that runtime too: these say whose they are.
    turn: (session) =>
      `turn_${session.slice(4)}T${session.startsWith(own) ? "" : origin}${(++turns).toString(36)}` as TurnId,
    subscription: () => `sub_${origin}${(++subscriptions).toString(36)}`,
  }
}

/** What of a turn's id may stand in any program's text: letters and digits alone. */
export const turnToken = (turn: TurnId): string => turn.slice("turn_".length)

/** The session that a turn's id leads to; undefined for an id that was not made here. */
export const sessionOfTurn = (turn: TurnId): SessionId | undefined => {
  const at = turn.indexOf("T")
  return at < 0 ? undefined : (`ses_${turn.slice("turn_".length, at)}` as SessionId)
}

/** Whether the turn's id leads to this session; much cheaper than to ask for it. */
export const leadsTo = (turn: TurnId, session: SessionId): boolean =>
  turn.charCodeAt(session.length + 1) === 0x54 && turn.slice("turn_".length, session.length + 1) === session.slice(4)
