/**
 * The child of the spawn and restart measurements: fast to start, and ready at the first line that it prints. Both sides
 * start the same program and wait for the same line.
 */
import type { SessionSpecInput } from "../src/domain/SessionSpec.ts"

export const readyCommand = "sh"
export const readyArgs = ["-c", "echo ready; exec cat"] as const

/** A session that counts as ready once that line was read. */
export const readySpec = (cwd: string): SessionSpecInput => ({
  command: readyCommand,
  args: readyArgs,
  cwd,
  protocol: { type: "text", endOfTurn: { prompt: "ready\n" } },
})
