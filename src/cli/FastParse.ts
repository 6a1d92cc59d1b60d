/**
 * Parses a well-formed command line from the command table without loading effect/cli: that is what keeps
 * `creche ps` near the cost of starting Node. It answers only when there can be no two opinions; anything
 * else (help, an abbreviation, a mistake) is `undefined`, and `CommandTree` decides and explains.
 */
import { parseArgs } from "node:util"
import {
  type ArgumentSpec,
  type CommandName,
  type CommandSpec,
  commands,
  type FlagSpec,
  type Invocation,
  sharedFlags,
} from "./Commands.ts"

export const isCommandName = (name: string): name is CommandName => Object.hasOwn(commands, name)

/** Where the command's name stands: the first word that is no shared flag. -1 when the line begins otherwise. */
const nameAt = (argv: ReadonlyArray<string>): number => {
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at]!
    if (!word.startsWith("-")) return at
    const [flag, value] = word.slice(2).split(/=(.*)/s, 2)
    if (!word.startsWith("--") || flag === undefined || !Object.hasOwn(sharedFlags, flag)) return -1
    if (sharedFlags[flag as keyof typeof sharedFlags].type === "string" && value === undefined) at++
  }
  return -1
}

/**
 * Splits a line at its first `--` when the command takes a command line of its own there, so that neither
 * parser mistakes the program for an argument of ours.
 */
export const splitCommandLine = (
  argv: ReadonlyArray<string>,
): { readonly own: ReadonlyArray<string>; readonly commandLine: ReadonlyArray<string> } => {
  const at = nameAt(argv)
  const name = argv[at]
  const delimiter = argv.indexOf("--")
  if (name === undefined || !isCommandName(name) || delimiter < 0 || !("commandLine" in commands[name]))
    return { own: argv, commandLine: [] }
  return { own: argv.slice(0, delimiter), commandLine: argv.slice(delimiter + 1) }
}

/** Words onto declared arguments; undefined when there are too many or too few. */
export const bindArguments = (
  declared: ReadonlyArray<ArgumentSpec>,
  words: ReadonlyArray<string>,
): Record<string, string | ReadonlyArray<string>> | undefined => {
  const bound: Record<string, string | ReadonlyArray<string>> = {}
  let at = 0
  for (const argument of declared) {
    if (argument.many) {
      const taken = words.slice(at)
      if (taken.length === 0 && !argument.optional) return undefined
      bound[argument.name] = taken
      at = words.length
      continue
    }
    const word = words[at]
    if (word === undefined) {
      if (!argument.optional) return undefined
      continue
    }
    if (argument.choices !== undefined && !argument.choices.includes(word)) return undefined
    bound[argument.name] = word
    at++
  }
  return at < words.length ? undefined : bound
}

const wholeNumber = /^(?:0|[1-9][0-9]{0,14})$/

/** The value of one flag, or undefined where it does not fit. */
const valueOf = (spec: FlagSpec, text: string): string | number | undefined => {
  switch (spec.type) {
    case "integer":
      return wholeNumber.test(text) ? Number(text) : undefined
    case "choice":
      return spec.choices?.includes(text) ? text : undefined
    case "string":
      // Whether `--data -x` gives a value is for the full parser to say.
      return text.startsWith("-") && text !== "-" ? undefined : text
    case "boolean":
      return undefined
  }
}

/** What flags are before any was given. */
const noValues = (specs: Readonly<Record<string, FlagSpec>>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(specs)
      .filter(([, spec]) => spec.type === "boolean" || spec.many)
      .map(([name, spec]) => [name, spec.many ? [] : false]),
  )

export const fastParse = (argv: ReadonlyArray<string>): Invocation | undefined => {
  const { own, commandLine } = splitCommandLine(argv)
  const at = nameAt(own)
  const name = own[at]
  if (name === undefined || !isCommandName(name)) return undefined
  const command: CommandSpec = commands[name]
  const specs: Readonly<Record<string, FlagSpec>> = { ...sharedFlags, ...command.flags }
  const options = Object.fromEntries(
    Object.entries(specs).map(([flag, { type, alias }]) => [
      flag,
      {
        type: type === "boolean" ? ("boolean" as const) : ("string" as const),
        multiple: true,
        ...(alias === undefined ? {} : { short: alias }),
      },
    ]),
  )
  let parsed
  try {
    parsed = parseArgs({
      args: own.filter((_, index) => index !== at),
      options,
      allowPositionals: true,
      strict: true,
    })
  } catch {
    return undefined
  }
  const flags = noValues(specs)
  for (const [flag, given] of Object.entries(parsed.values)) {
    const spec = specs[flag]!
    const values = given as ReadonlyArray<string | boolean>
    if (values.length > 1 && !spec.many) return undefined
    for (const text of values) {
      const value = text === true ? true : valueOf(spec, String(text))
      if (value === undefined) return undefined
      if (spec.many) (flags[flag] as Array<unknown>).push(value)
      else flags[flag] = value
    }
  }
  const args = bindArguments(command.arguments, parsed.positionals)
  if (args === undefined) return undefined
  return invocation(name, flags, args, commandLine)
}

/** Puts the parts together; both parsers end here. */
export const invocation = (
  name: CommandName,
  flags: Readonly<Record<string, unknown>>,
  args: Readonly<Record<string, unknown>>,
  commandLine: ReadonlyArray<string>,
): Invocation => {
  const { json, data, socket, url, token, ...own } = flags
  return { name, shared: { json, data, socket, url, token }, flags: own, args, commandLine } as unknown as Invocation
}
