/**
 * The effect/cli command tree, made from the command table: it says what is wrong with a command line, prints
 * help and versions, and makes completions. Runs no command: a line that parses comes back as an `Invocation`,
 * the same that `FastParse` gives. Loaded only when the fast parser has no answer.
 */
import * as NodeChildProcessSpawner from "@effect/platform-node-shared/NodeChildProcessSpawner"
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem"
import * as NodePath from "@effect/platform-node-shared/NodePath"
import * as NodeStdio from "@effect/platform-node-shared/NodeStdio"
import * as NodeTerminal from "@effect/platform-node-shared/NodeTerminal"
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Completions from "effect/cli/Completions"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import {
  type ArgumentSpec,
  type CommandName,
  type CommandSpec,
  commands,
  type FlagSpec,
  type Invocation,
  sharedFlags,
} from "./Commands.ts"
import { invocation, splitCommandLine } from "./FastParse.ts"

export type Parsed =
  | { readonly _tag: "Command"; readonly invocation: Invocation }
  /** Nothing to run: `text` is for stdout (`help`, `version`) or stderr (`mistake`). */
  | { readonly _tag: "Help" | "Mistake"; readonly text: string }

type Values = Record<string, unknown>

const flagOf = (name: string, spec: FlagSpec): Flag.Flag<unknown> => {
  const described = <A>(flag: Flag.Flag<A>) => {
    const withText = flag.pipe(Flag.withDescription(spec.summary))
    const named = spec.metavar === undefined ? withText : withText.pipe(Flag.withMetavar(spec.metavar))
    return spec.alias === undefined ? named : named.pipe(Flag.withAlias(spec.alias))
  }
  const several = <A>(flag: Flag.Flag<A>): Flag.Flag<unknown> =>
    spec.many ? flag.pipe(Flag.atLeast(0)) : flag.pipe(Flag.optional, Flag.map(Option.getOrUndefined))
  switch (spec.type) {
    case "boolean":
      return described(Flag.Boolean(name)).pipe(Flag.withoutNegation, Flag.withDefault(false))
    case "string":
      return several(described(Flag.String(name)))
    case "integer":
      return several(
        described(Flag.Int(name)).pipe(
          Flag.filter(
            (value) => value >= 0,
            (value) => `Expected a whole number of at least 0, got ${value}`,
          ),
        ),
      )
    case "choice":
      return several(described(Flag.Literals(name, [...(spec.choices ?? [])])))
  }
}

const argumentOf = (spec: ArgumentSpec): Argument.Argument<unknown> => {
  const plain: Argument.Argument<string> =
    spec.choices === undefined ? Argument.String(spec.name) : Argument.Literals(spec.name, [...spec.choices])
  const described = plain.pipe(Argument.withDescription(spec.summary))
  if (spec.many) return described.pipe(Argument.variadic(spec.optional ? {} : { min: 1 }))
  return spec.optional ? described.pipe(Argument.optional, Argument.map(Option.getOrUndefined)) : described
}

const flagsOf = (specs: Readonly<Record<string, FlagSpec>>) =>
  Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, flagOf(name, spec)]))

/** Called with what was parsed, under the names of the table; `stray`: a word that stood where only `--` may. */
type Chosen = (name: CommandName, flags: Values, args: Values, stray: string | undefined) => void

const tree = (chosen: Chosen) => {
  const root = Command.make("creche").pipe(
    Command.withDescription(
      "Looks after child processes: any command becomes a session: named, supervised, asked like a function, gone without a trace when stopped.",
    ),
    Command.withSharedFlags(flagsOf(sharedFlags)),
  )
  const children = (Object.entries(commands) as Array<[CommandName, CommandSpec]>).map(([name, spec]) => {
    const config = {
      ...flagsOf(spec.flags),
      ...Object.fromEntries(spec.arguments.map((argument) => [`<${argument.name}>`, argumentOf(argument)])),
      // Only there to stand in the help: what follows `--` was taken off the line before.
      ...(spec.commandLine === undefined
        ? {}
        : {
            "<-->": Argument.String("command").pipe(Argument.withDescription(spec.commandLine), Argument.variadic()),
          }),
    }
    return Command.make(name, config, (values) =>
      Effect.map(root, (shared) => {
        const taken: Values = values
        chosen(
          name,
          { ...(shared as Values), ...pick(taken, Object.keys(spec.flags)) },
          Object.fromEntries(spec.arguments.map((argument) => [argument.name, taken[`<${argument.name}>`]])),
          (taken["<-->"] as ReadonlyArray<string> | undefined)?.[0],
        )
      }),
    ).pipe(
      Command.withDescription(
        spec.detail === undefined ? sentence(spec.summary) : `${sentence(spec.summary)} ${spec.detail}`,
      ),
      Command.withShortDescription(spec.summary),
      Command.withExamples(
        spec.examples.map(({ command, summary }) => (summary === "" ? { command } : { command, description: summary })),
      ),
    )
  })
  return root.pipe(Command.withSubcommands(children as unknown as readonly [Command.Command<string, unknown>]))
}

const pick = (values: Values, names: ReadonlyArray<string>): Values =>
  Object.fromEntries(names.map((name) => [name, values[name]]))

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`

const layer = Layer.mergeAll(
  NodeStdio.layer,
  NodeTerminal.layer,
  NodeChildProcessSpawner.layer.pipe(Layer.provideMerge(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer))),
  CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version] }),
)

export const parse = async (
  argv: ReadonlyArray<string>,
  options: { readonly version: string; readonly colours: boolean },
): Promise<Parsed> => {
  const { own, commandLine } = splitCommandLine(argv)
  const formatter = CliOutput.defaultFormatter({ colors: options.colours })
  let result: Parsed | undefined
  const mistake = (message: string, path: string) => {
    result = { _tag: "Mistake", text: `${message}\n${path} --help says how it is used` }
  }
  const command = tree((name, flags, args, stray) => {
    if (stray === undefined) result = { _tag: "Command", invocation: invocation(name, flags, args, commandLine) }
    else mistake(`creche: put -- before the command line: creche ${name} … -- ${stray} …`, `creche ${name}`)
  })
  const present = (event: CliOutput.Presenter.Event) =>
    Effect.sync(() => {
      switch (event._tag) {
        case "Version":
          result = { _tag: "Help", text: `${event.name} ${event.version}` }
          return
        case "Help":
          result = {
            _tag: event.reason === "Requested" ? "Help" : "Mistake",
            text: formatter.formatHelpDoc(event.helpDoc).replace("[<command...>]", "-- <command...>"),
          }
          return
        case "InvalidInvocation":
          mistake(event.errors.map((error) => `creche: ${error.message}`).join("\n"), event.commandPath.join(" "))
      }
    })
  const exit = await Effect.runPromiseExit(
    Command.runWith(command, { version: options.version })(own).pipe(
      Effect.provide(Layer.merge(layer, CliOutput.layerPresenter({ present }))),
    ),
  )
  if (result === undefined)
    return { _tag: "Mistake", text: `creche: ${String(Exit.isFailure(exit) ? exit.cause : "")}` }
  return result
}

export const completions = (shell: "bash" | "zsh" | "fish"): string =>
  Completions.generate("creche", shell, Completions.fromCommand(tree(() => {})))
