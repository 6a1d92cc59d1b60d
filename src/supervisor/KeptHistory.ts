/**
 * The restart history as it is kept with a session's record, and taken up again by the next runtime. Its times are of a
 * clock that begins anew with every runtime: they are moved by what the wall clock says lies between. Pure.
 */
import { noHistory, type RestartHistory } from "./RestartPolicy.ts"

interface Kept {
  readonly history: RestartHistory
  /** Wall clock minus steady clock when it was kept (ms). */
  readonly skewMs: number
}

export const keep = (history: RestartHistory, skewMs: number): unknown => ({ history, skewMs }) satisfies Kept

const isKept = (kept: unknown): kept is Kept => {
  const { history, skewMs } = (kept ?? {}) as Partial<Kept>
  return (
    typeof skewMs === "number" &&
    typeof history?.step?.attempt === "number" &&
    typeof history.charges?.waitedMs === "number" &&
    Array.isArray(history.charges.charges) &&
    history.charges.charges.every((at) => typeof at === "number")
  )
}

/**
 * The history on this runtime's clock; where none was kept, or what was kept is of another shape, a clean one. What a wall
 * clock that was set back puts into the future is taken for new: it must not count for longer than the window.
 */
export const takeUp = (kept: unknown, skewMs: number, now: number): RestartHistory => {
  if (!isKept(kept)) return noHistory
  const { step, charges } = kept.history
  const byMs = kept.skewMs - skewMs
  const newest = now - charges.waitedMs
  return { step, charges: { ...charges, charges: charges.charges.map((at) => Math.min(at + byMs, newest)) } }
}
