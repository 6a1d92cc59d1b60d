/** What a retention leaves of sessions: the oldest ended turns go first, with the entries up to their end. Pure. */
import type { TranscriptEntry } from "../domain/Transcript.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import { weigh } from "./EntryWeight.ts"

export interface Kept {
  readonly entries: ReadonlyArray<TranscriptEntry>
  readonly turns: ReadonlyArray<Turn>
}

interface Left {
  readonly entries: ReadonlyArray<TranscriptEntry>
  /** So many entries go from the front. */
  dropped: number
  readonly turns: Set<Turn>
  /** The first `seq` of each of them, the least one last. */
  readonly begins: Array<number>
}

export interface Bounds {
  /** What was made before this goes (epoch ms). */
  readonly oldest: number
  /** While so many bytes are too much, more goes. */
  readonly excess: number
}

/** One outcome for each session that was given, in the same order. */
export const retained = (
  sessions: ReadonlyArray<Kept>,
  { oldest, excess }: Bounds,
): { readonly kept: ReadonlyArray<Kept>; readonly removedTurns: number; readonly removedEntries: number } => {
  const all: Array<Left> = sessions.map(({ entries, turns }) => ({
    entries,
    dropped: 0,
    turns: new Set(turns),
    begins: turns.map(({ firstSeq }) => firstSeq).toSorted((a, b) => b - a),
  }))
  const ended = all.flatMap((left) => {
    const own = [...left.turns].filter(isTerminal).toSorted((a, b) => a.firstSeq - b.firstSeq)
    // The newest one stays.
    return own.slice(0, -1).map((turn) => ({ left, turn }))
  })
  let over = excess
  /** From the front, as long as they may go and no turn that is kept began with them. */
  const drop = (left: Left, goes: (entry: TranscriptEntry) => boolean) => {
    const needed = left.begins.at(-1) ?? Infinity
    for (; left.dropped < left.entries.length; left.dropped++) {
      const entry = left.entries[left.dropped]!
      if (entry.seq >= needed || !goes(entry)) break
      over -= weigh(entry)
    }
  }
  let removedTurns = 0
  for (const { left, turn } of ended.toSorted((a, b) => a.turn.endedAt! - b.turn.endedAt!)) {
    if (over <= 0 && turn.endedAt! >= oldest) break
    left.turns.delete(turn)
    left.begins.splice(left.begins.lastIndexOf(turn.firstSeq), 1)
    removedTurns++
    drop(left, () => true)
  }
  for (const left of all) drop(left, (entry) => entry.at < oldest)
  return {
    kept: all.map(({ entries, dropped, turns }) => ({ entries: entries.slice(dropped), turns: [...turns] })),
    removedTurns,
    removedEntries: all.reduce((sum, { dropped }) => sum + dropped, 0),
  }
}
