/** From a command's name to the file that runs it, loaded only then. Exhaustive by type. */
import type { CommandName } from "./Commands.ts"
import type { Run } from "./Run.ts"

export const loaders: { readonly [N in CommandName]: () => Promise<{ readonly run: Run<N> }> } = {
  serve: () => import("./commands/serve.ts"),
  stdio: () => import("./commands/stdio.ts"),
  mcp: () => import("./commands/mcp.ts"),
  start: () => import("./commands/start.ts"),
  ask: () => import("./commands/ask.ts"),
  tell: () => import("./commands/tell.ts"),
  ps: () => import("./commands/ps.ts"),
  tree: () => import("./commands/tree.ts"),
  logs: () => import("./commands/logs.ts"),
  history: () => import("./commands/history.ts"),
  search: () => import("./commands/search.ts"),
  export: () => import("./commands/export.ts"),
  extend: () => import("./commands/extend.ts"),
  fork: () => import("./commands/fork.ts"),
  answer: () => import("./commands/answer.ts"),
  cancel: () => import("./commands/cancel.ts"),
  stop: () => import("./commands/stop.ts"),
  restart: () => import("./commands/restart.ts"),
  suspend: () => import("./commands/suspend.ts"),
  resume: () => import("./commands/resume.ts"),
  rm: () => import("./commands/rm.ts"),
  stats: () => import("./commands/stats.ts"),
  config: () => import("./commands/config.ts"),
  token: () => import("./commands/token.ts"),
  guard: () => import("./commands/guard.ts"),
  doctor: () => import("./commands/doctor.ts"),
  demo: () => import("./commands/demo.ts"),
  completions: () => import("./commands/completions.ts"),
}
