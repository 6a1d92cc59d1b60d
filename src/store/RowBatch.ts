/**
 * A batch of commits as the rows that it comes to: plain values, so that they can be handed to another thread. Made by
 * CommitBatch, written by BatchWriter.
 */

/** Entries of a transcript that follow one another: one row. */
export interface Stretch {
  readonly firstSeq: number
  readonly lastSeq: number
  /** Of the last entry. */
  readonly at: number
  /** A bit for each type that occurs. */
  readonly types: number
  readonly count: number
  /** The entries, separated by commas. */
  readonly json: string
}

/** The columns that hardly ever change. */
export interface Identity {
  readonly name: string
  readonly supervisor: string
  readonly task: string | null
  readonly template: string | null
  readonly createdAt: number
}

/** A row of `session_details`, and the tags. */
export interface Details {
  readonly spec: string
  readonly own: string
  readonly retention: string | null
  readonly deaths: string
  readonly transcriptEntries: number
  readonly transcriptBytes: number | null
  readonly tags: ReadonlyArray<readonly [string, string]>
}

export interface SessionRows {
  readonly id: string
  readonly status: string
  readonly standing: string
  readonly lastActiveAt: number
  readonly expiresAt: number | null
  readonly seq: number
  readonly state: string
  /** Both left out where they are as in a batch before. */
  readonly identity: Identity | undefined
  readonly details: Details | undefined
  /** Left out: as it was. */
  readonly history: string | undefined
  readonly stretches: ReadonlyArray<Stretch>
}

/** A list, not a record: there are many, and names would be copied with each. */
export type TurnRow = readonly [
  /** The place of its session in `sessions`. */
  session: number,
  id: string,
  firstSeq: number,
  lastSeq: number,
  /** null while it is open. */
  endedAt: number | null,
  key: string | null,
  /** It was accepted within this batch: the tables have never seen it. */
  fresh: boolean,
  json: string,
]

export interface RowBatch {
  /** The epoch of the log that the tables hold with this. */
  readonly epoch: number
  readonly sessions: ReadonlyArray<SessionRows>
  readonly turns: ReadonlyArray<TurnRow>
  /** Sessions that were removed since the last batch. */
  readonly forgotten: ReadonlyArray<string>
}
