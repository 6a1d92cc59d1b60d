/** The arguments that make Claude Code speak stream-json and go on with the right conversation. Pure; called by `Claude`. */
import type { StartContext } from "./Protocol.ts"

export interface ClaudeOptions {
  readonly model?: string
  /** A conversation to go on with where the session has none of its own yet. */
  readonly resume?: string
  /** Added to the CLI's own. */
  readonly systemPrompt?: string
  readonly extraArgs?: ReadonlyArray<string>
}

const flags = [
  "-p",
  "--input-format=stream-json",
  "--output-format=stream-json",
  "--verbose",
  "--include-partial-messages",
  "--permission-prompt-tool=stdio",
]

export const claudeArgs = (
  { model, resume, systemPrompt, extraArgs = [] }: ClaudeOptions,
  { from, freshId }: Pick<StartContext, "from" | "freshId">,
): ReadonlyArray<string> => {
  const conversation =
    from === null
      ? resume === undefined
        ? [`--session-id=${freshId}`]
        : [`--resume=${resume}`]
      : from.fork
        ? [`--resume=${from.conversation}`, "--fork-session", `--session-id=${freshId}`]
        : [`--resume=${from.conversation}`]
  return [
    ...flags,
    ...conversation,
    ...(model === undefined ? [] : [`--model=${model}`]),
    ...(systemPrompt === undefined ? [] : [`--append-system-prompt=${systemPrompt}`]),
    ...extraArgs,
  ]
}
