/** `creche config`: checks a configuration file, or prints the JSON schema of such files. Starts nothing. */
import { configJsonSchema } from "../../config/ConfigFile.ts"
import { type Configuration, ConfigurationUnreadable, readConfiguration } from "../../config/Configuration.ts"
import type { Call } from "../Commands.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import type { ExitCode, Io } from "../Io.ts"
import type { Run } from "../Run.ts"
import { plural, visibleLine } from "../Text.ts"

export const run: Run<"config"> = async (call, io) => {
  const { action, file } = call.args
  if (action === "check") return check(call, io, file ?? "creche.yaml")
  if (file !== undefined) throw wrongUsage("config schema takes no file")
  const schema = configJsonSchema()
  await io.stdout(`${call.shared.json ? JSON.stringify(schema) : JSON.stringify(schema, null, 2)}\n`)
  return 0
}

const check = async (call: Call, io: Io, file: string): Promise<ExitCode> => {
  const read = readConfiguration(file, io.cwd)
  if (read instanceof ConfigurationUnreadable) {
    throw new CommandFailure(read.message, { tag: read._tag, file })
  }
  // What was found is the result of a check, not its failure: it goes to stdout either way.
  if (read instanceof Error) {
    const { problems } = read
    await io.stdout(
      call.shared.json
        ? `${JSON.stringify({ valid: false, file, problems })}\n`
        : `${read.message.split("\n").map(visibleLine).join("\n")}\n\n${file}: ${plural(problems.length, "problem")}\n`,
    )
    return 1
  }
  await io.stdout(
    call.shared.json
      ? `${JSON.stringify({ valid: true, file, problems: [] })}\n`
      : `${file} is right: ${contents(read)}\n`,
  )
  return 0
}

const contents = ({ templates, sessions }: Configuration): string =>
  `${plural(Object.keys(templates).length, "template")}, ${plural(sessions.length, "session")}`
