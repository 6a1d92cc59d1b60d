/** What a session may use up in all: money, tokens, turns. Pure. */
import { LimitReached } from "../domain/Errors.ts"
import type { SessionState } from "./SessionState.ts"

/** The budget that is used up, as the error that turns are refused with; undefined: there is some left of each. */
export const budgetReached = (
  state: Pick<SessionState, "spec" | "usage" | "completed" | "failed">,
): LimitReached | undefined => {
  const { limits } = state.spec
  if (limits.costUsd === undefined && limits.tokens === undefined && limits.turns === undefined) return undefined
  const usage = state.usage ?? {}
  const used = {
    costUsd: usage["costUsd"] ?? 0,
    tokens: (usage["inputTokens"] ?? 0) + (usage["outputTokens"] ?? 0),
    turns: state.completed + state.failed,
  }
  for (const limit of ["costUsd", "tokens", "turns"] as const) {
    const value = limits[limit]
    if (value !== undefined && used[limit] >= value) return new LimitReached({ limit: `limits.${limit}`, value })
  }
  return undefined
}
