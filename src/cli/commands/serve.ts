/** `creche serve`: the runtime in the foreground, until a signal or `runtime/shutdown` ends it. */
import * as Effect from "effect/Effect"
import { serve } from "../../main.ts"
import { resolvePaths } from "../Paths.ts"
import type { Run } from "../Run.ts"

export const run: Run<"serve"> = async (call, io) => {
  const { dataDirectory, socket } = resolvePaths(call.shared, io.env, io.cwd)
  const { demo } = call.flags
  await Effect.runPromise(
    serve({
      dataDirectory,
      socket,
      demo,
      onListening: (info) => {
        io.stderr(
          call.shared.json
            ? `${JSON.stringify({ listening: info.socket, containment: info.containment, detail: info.detail })}\n`
            : `creche listens on ${info.socket}\ncontainment: ${info.containment} (${info.detail})\n${hints(demo)}`,
        )
      },
    }),
  )
  return 0
}

/** In the words of how it was started. */
const hints = (demo: boolean): string => {
  const creche = process.env["npm_lifecycle_event"] === undefined ? "creche" : "npm run -s creche --"
  const lines = demo
    ? [
        `${creche} ask demo hello`,
        `${creche} ask demo /help`,
        `${creche} ask --stream demo /stream 5 again`,
        `${creche} ps`,
        `${creche} logs -f demo`,
      ]
    : [`${creche} start echo -- cat`, `${creche} ask echo hello`, `${creche} ps`]
  return `try, in another terminal:\n${lines.map((line) => `  ${line}\n`).join("")}Ctrl-C stops everything.\n`
}
