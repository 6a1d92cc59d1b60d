/** Why a command could not do what it was asked, in words for a person, and the exit code it ends with. */
import type { Call } from "./Commands.ts"
import type { ExitCode, Io } from "./Io.ts"
import { visible } from "./Text.ts"

export class CommandFailure extends Error {
  readonly code: ExitCode
  /** What `--json` prints besides the message. */
  readonly details: Readonly<Record<string, unknown>>
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}, code: ExitCode = 1) {
    super(message)
    this.name = "CommandFailure"
    this.code = code
    this.details = details
  }
}

/** The command line itself is wrong: exit code 2. */
export const wrongUsage = (message: string): CommandFailure => new CommandFailure(message, { tag: "WrongUsage" }, 2)

/** An answer of the runtime that is an error, as any client throws it. */
interface Refusal {
  readonly code: number
  readonly message: string
  readonly data?: { readonly tag?: string; readonly [field: string]: unknown }
}

const isRefusal = (error: unknown): error is Refusal =>
  error instanceof Error && typeof (error as { code?: unknown }).code === "number" && !(error instanceof CommandFailure)

/** An expected failure of a runtime in this process. */
const isTagged = (error: unknown): error is Error & { readonly _tag: string } =>
  error instanceof Error && "_tag" in error && typeof error._tag === "string"

const invalidParams = -32602

/** The runtime speaks of methods and params; here they are commands and flags. */
const inCommands = (message: string): string =>
  message
    .replace("session/list shows", "`creche ps` shows")
    .replace('pass ifExists: "return"', "pass --if-exists return")
    .replace("session/restart starts it again", "`creche restart` starts it again")

/** What the runtime refused, as a failure of this command; its stderr is shown where a start failed. */
const fromRefusal = (error: unknown): unknown => {
  if (isTagged(error)) return new CommandFailure(error.message, { tag: error._tag })
  if (!isRefusal(error)) return error
  const { data } = error
  const tail = data?.["stderrTail"]
  const said =
    typeof tail === "string" && tail.trim() !== ""
      ? `\nit wrote to stderr:\n${visible(tail).trimEnd().replace(/^/gm, "  ")}`
      : ""
  return new CommandFailure(
    `${inCommands(error.message)}${said}`,
    { ...data, code: error.code },
    error.code === invalidParams ? 2 : 1,
  )
}

/** Whether a line that no parser accepts would have its failure as JSON. */
export const asksForJson = (argv: ReadonlyArray<string>): boolean => {
  const end = argv.indexOf("--")
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json")
}

export const failureLine = (failure: CommandFailure): string =>
  `${JSON.stringify({ error: { ...failure.details, message: failure.message } })}\n`

/** Prints a failure on stderr, as one JSON object with `--json`. A bug keeps its stack. */
export const report = (thrown: unknown, call: Call, io: Pick<Io, "stderr">): ExitCode => {
  const error = fromRefusal(thrown)
  if (!(error instanceof CommandFailure)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    io.stderr(
      call.shared.json
        ? `${JSON.stringify({ error: { tag: "Defect", message: text } })}\n`
        : `creche ${call.name}: this is a bug in creche: ${text}\n`,
    )
    return 1
  }
  io.stderr(call.shared.json ? failureLine(error) : `creche ${call.name}: ${error.message}\n`)
  return error.code
}
