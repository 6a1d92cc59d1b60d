/** `creche completions`: a script for the shell, made by effect/cli from the command tree. */
import type { Run } from "../Run.ts"

export const run: Run<"completions"> = async (call, io) => {
  const { completions } = await import("../CommandTree.ts")
  const script = completions(call.args.shell as "bash" | "zsh" | "fish")
  await io.stdout(call.shared.json ? `${JSON.stringify({ shell: call.args.shell, script })}\n` : `${script}\n`)
  return 0
}
