/** `creche start`: a SessionSpec from a file and flags; answers once the session is ready. */
import { readFile } from "node:fs/promises"
import { isAbsolute, resolve } from "node:path"
import type { SessionSpecInput } from "../../domain/SessionSpec.ts"
import type { Params } from "../../transport/Contract.ts"
import type { Invocation } from "../Commands.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import type { Io } from "../Io.ts"
import { pairs } from "../Pairs.ts"

export const run: Run<"start"> = async (call, io) => {
  const inFile = await specFile(call, io)
  const spec = { ...inFile, ...fromFlags(call, io), ...retention(call, inFile) }
  if (spec.command === undefined && spec.template === undefined && !suppliesCommand(spec.protocol))
    throw wrongUsage("a command is missing: creche start NAME -- COMMAND ARGS…")
  const session = await withRuntime(call, io, (client) => client.request("session/start", spec))
  await io.stdout(
    call.shared.json
      ? `${JSON.stringify(session)}\n`
      : `${session.name} is ${session.status}${session.pid === null ? "" : `, pid ${session.pid}`}, id ${session.id}\n`,
  )
  return 0
}

/** `claude`, `codex` and `acp` bring their own command. */
const suppliesCommand = (protocol: SessionSpecInput["protocol"]): boolean => {
  const type = typeof protocol === "object" ? protocol.type : protocol
  return type === "claude" || type === "codex" || type === "acp"
}

type Input = Params<"session/start">

/** Any field is let through: what is wrong with it, the runtime says, for every client the same. */
const specFile = async (call: Invocation<"start">, io: Io): Promise<Input> => {
  const { spec } = call.flags
  if (spec === undefined) return {}
  let text: string
  try {
    text = spec === "-" ? await io.stdin() : await readFile(resolve(io.cwd, spec), "utf8")
  } catch (error) {
    throw new CommandFailure(`cannot read ${spec}: ${(error as Error).message}`, { tag: "SpecUnreadable" })
  }
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it is no object")
    return value as Input
  } catch (error) {
    throw wrongUsage(`${spec} must hold a JSON object: ${(error as Error).message}`)
  }
}

const fromFlags = (call: Invocation<"start">, io: Io): Input => {
  const { flags } = call
  const [program, ...args] = call.commandLine
  const env = pairs("env", flags.env, null)
  const tags = pairs("tag", flags.tag)
  const inherit = flags["inherit-env"]
  const ms = (value: number | undefined, field: string) => (value === undefined ? {} : { [field]: value })
  return {
    ...(call.args.name === undefined ? {} : { name: call.args.name }),
    // The runtime stands in another directory than the caller.
    ...(program === undefined
      ? {}
      : { command: program.includes("/") && !isAbsolute(program) ? resolve(io.cwd, program) : program, args }),
    ...(flags.template === undefined ? {} : { template: flags.template }),
    ...(flags.cwd === undefined ? {} : { cwd: resolve(io.cwd, flags.cwd) }),
    ...(flags.protocol === undefined ? {} : { protocol: protocol(flags.protocol) }),
    ...(flags.restart === undefined ? {} : { restart: flags.restart }),
    ...(env === undefined ? {} : { env }),
    ...(inherit.length === 0 ? {} : { inheritEnv: inherit.includes("all") ? ("all" as const) : inherit }),
    ...(tags === undefined ? {} : { tags }),
    ...(flags.task === undefined ? {} : { task: flags.task }),
    ...(flags.supervisor === undefined ? {} : { supervisor: flags.supervisor }),
    ...(flags.containment === undefined ? {} : { containment: flags.containment }),
    ...ms(flags["ready-timeout-ms"], "readyTimeoutMs"),
    ...ms(flags["turn-timeout-ms"], "turnTimeoutMs"),
    ...(flags["idle-timeout-ms"] === undefined ? {} : { idleTimeoutMs: flags["idle-timeout-ms"] || null }),
    ...(flags["expires-in-ms"] === undefined ? {} : { expiresInMs: flags["expires-in-ms"] || null }),
    ...(flags["grace-ms"] === undefined ? {} : { shutdown: { graceMs: flags["grace-ms"] } }),
    ...ms(flags["retry-turns"], "retryTurns"),
    ...(flags["if-exists"] === undefined ? {} : { ifExists: flags["if-exists"] }),
  }
}

/** Its two flags are two fields of one: the one that was not given stays as the file has it. */
const retention = (call: Invocation<"start">, inFile: Input): Input => {
  const { "retention-age-ms": maxAgeMs, "retention-bytes": maxBytes } = call.flags
  if (maxAgeMs === undefined && maxBytes === undefined) return {}
  return {
    retention: {
      ...inFile.retention,
      ...(maxAgeMs === undefined ? {} : { maxAgeMs }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
    },
  }
}

/** A name, or an object as JSON. */
const protocol = (text: string): NonNullable<Input["protocol"]> => {
  if (!text.startsWith("{")) return text as NonNullable<Input["protocol"]>
  try {
    return JSON.parse(text) as NonNullable<Input["protocol"]>
  } catch (error) {
    throw wrongUsage(`--protocol wants a name or a JSON object: ${(error as Error).message}`)
  }
}
