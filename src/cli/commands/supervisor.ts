/** `creche supervisor`: starts a supervisor, or stops one with all below it. */
import { withRuntime } from "../Connection.ts"
import { wrongUsage } from "../Failure.ts"
import type { Run } from "../Run.ts"
import { plural } from "../Text.ts"

export const run: Run<"supervisor"> = async (call, io) => {
  const { action, path } = call.args
  const { strategy, "max-restarts": maxRestarts, "within-ms": withinMs } = call.flags
  if (action === "stop") {
    if (strategy !== undefined || maxRestarts !== undefined || withinMs !== undefined) {
      throw wrongUsage("supervisor stop takes no settings")
    }
    const stopped = await withRuntime(call, io, (client) => client.request("supervisor/stop", { path }))
    const left = stopped.survivors.length
    const told = left === 0 ? "" : `; ${plural(left, "process", "processes")} could not be killed`
    await io.stdout(call.shared.json ? `${JSON.stringify(stopped)}\n` : `${path} is stopped${told}\n`)
    return left === 0 ? 0 : 1
  }
  const started = await withRuntime(call, io, (client) =>
    client.request("supervisor/start", {
      path,
      ...(strategy === undefined ? {} : { strategy }),
      ...(maxRestarts === undefined ? {} : { maxRestarts }),
      ...(withinMs === undefined ? {} : { withinMs }),
    }),
  )
  await io.stdout(call.shared.json ? `${JSON.stringify(started)}\n` : `${path} is ${started.status}\n`)
  return 0
}
