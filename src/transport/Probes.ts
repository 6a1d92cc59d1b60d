/**
 * `GET /livez` and `GET /readyz`, as orchestrators ask: one word, no token, no detail, and a status that says it all. Who
 * wants to know why asks `/v1/health`, with a token. Answers are made here; any HTTP server can give them.
 */
import * as Effect from "effect/Effect"
import type { Runtime } from "../supervisor/Runtime.ts"

export const probePaths = ["/livez", "/readyz"] as const
export type ProbePath = (typeof probePaths)[number]

export interface ProbeAnswer {
  readonly status: 200 | 503
  readonly contentType: string
  readonly text: string
}

const answer = (status: 200 | 503, word: string): ProbeAnswer => ({
  status,
  contentType: "text/plain; charset=utf-8",
  text: `${word}\n`,
})

export const isProbe = (path: string): path is ProbePath => (probePaths as ReadonlyArray<string>).includes(path)

/** `/livez`: whoever answers lives. `/readyz`: 503 while the runtime starts, drains, or has a store that does not answer. */
export const probe = (runtime: Runtime["Service"], path: ProbePath): Effect.Effect<ProbeAnswer> =>
  path === "/livez"
    ? Effect.succeed(answer(200, "ok"))
    : Effect.map(runtime.health, ({ ready, status }) =>
        ready ? answer(200, "ok") : answer(503, status === "degraded" ? "unavailable" : status),
      )
