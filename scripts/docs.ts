/**
 * Writes the generated parts of docs/: what stands between `<!-- generated: NAME -->` and `<!-- end -->` in
 * protocol.md, cli.md, operations.md and templates.md is made from the contract, the session spec, the error codes, the
 * command table, the telemetry catalogue and the built-in templates.
 * The prose around them is written by hand. `--check` writes nothing and exits 1 where a part is stale.
 */
import { readFileSync, writeFileSync } from "node:fs"
import * as Schema from "effect/Schema"
import { type ArgumentSpec, type CommandSpec, commands, type FlagSpec, sharedFlags } from "../src/cli/Commands.ts"
import { builtInTemplates } from "../src/config/BuiltInTemplates.ts"
import { runtimeFields } from "../src/config/ConfigFile.ts"
import { defaultQuietMs } from "../src/domain/ProtocolSpec.ts"
import { sessionSpecFields, specDefaults } from "../src/domain/SessionSpec.ts"
import { templateFields } from "../src/domain/Template.ts"
import { mostTemplates } from "../src/supervisor/Templates.ts"
import { annotations, metrics, type MetricSpec, spans } from "../src/domain/Telemetry.ts"
import { contract, notOffered } from "../src/transport/Contract.ts"
import { errorCodes } from "../src/transport/ErrorCodes.ts"
import { Entry, Session, Turn } from "../src/transport/WireSchema.ts"

interface JsonSchema {
  readonly type?: string
  readonly enum?: ReadonlyArray<unknown>
  readonly anyOf?: ReadonlyArray<JsonSchema>
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: ReadonlyArray<string>
  readonly items?: JsonSchema
  readonly minimum?: number
  readonly maximum?: number
  readonly description?: string
  readonly $ref?: string
}

const jsonSchema = (schema: Schema.Top): JsonSchema => Schema.toJsonSchemaDocument(schema).schema as JsonSchema

/** A type in a few words: `"a" | "b"`, `integer ≥ 1`, `{signal?, graceMs?}`. */
const typeText = (schema: JsonSchema): string => {
  if (schema.$ref !== undefined) return schema.$ref.replace(/^.*\//, "")
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" | ")
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(typeText))].join(" | ")
  switch (schema.type) {
    case "array":
      return schema.items === undefined ? "array" : `array of ${typeText(schema.items)}`
    case "integer":
    case "number":
      return `${schema.type}${bounds(schema)}`
    case "object": {
      if (schema.properties === undefined) return "object"
      const fields = Object.entries(schema.properties).map(([name, field]) => {
        const only = field.enum?.length === 1 ? `: ${JSON.stringify(field.enum[0])}` : ""
        return `${name}${schema.required?.includes(name) ? "" : "?"}${only}`
      })
      return `{${fields.join(", ")}}`
    }
    default:
      return schema.type ?? "any JSON"
  }
}

const bounds = ({ minimum, maximum }: JsonSchema): string => {
  const least = minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? "" : ` ≥ ${minimum}`
  return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? least : `${least} ≤ ${maximum}`
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")
const code = (text: string): string => `\`${cell(text)}\``
const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`
const markdownTable = (titles: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [row(titles), row(titles.map(() => "---")), ...rows.map(row)].join("\n")

const sessionSpec = (): string => {
  const { properties = {} } = jsonSchema(contract["session/start"].params)
  const defaults: Readonly<Record<string, unknown>> = { ...specDefaults, ifExists: "fail" }
  return markdownTable(
    ["field", "type", "default", "meaning"],
    Object.entries(properties).map(([name, schema]) => [
      code(name),
      code(typeText(schema)),
      name in defaults && defaults[name] !== null ? code(JSON.stringify(defaults[name])) : "",
      cell(schema.description ?? ""),
    ]),
  )
}

/** The fields of what clients see. */
const shape = (schema: Schema.Top): string => {
  const { schema: root, definitions } = Schema.toJsonSchemaDocument(schema)
  const { $ref = "" } = root as JsonSchema
  const { properties = {}, required = [] } = (definitions[typeText({ $ref })] ?? root) as JsonSchema
  return markdownTable(
    ["field", "type", "meaning"],
    Object.entries(properties).map(([name, field]) => [
      code(`${name}${required.includes(name) ? "" : "?"}`),
      code(typeText(field)),
      cell(field.description ?? ""),
    ]),
  )
}

/** What an entry of each type has besides what all have. */
const entries = (): string => {
  const common = ["session", "seq", "at", "incarnation", "turn", "type"]
  return markdownTable(
    ["type", "fields"],
    Entry.members.map((member) => {
      const { properties = {}, required = [] } = jsonSchema(member)
      const fields = Object.entries(properties).filter(([name]) => !common.includes(name))
      return [
        code(String(member.fields.type.literal)),
        fields
          .map(([name, field]) => code(`${name}${required.includes(name) ? "" : "?"}: ${typeText(field)}`))
          .join(", "),
      ]
    }),
  )
}

const paramsText = (schema: Schema.Top): string => {
  const { properties = {}, required = [] } = jsonSchema(schema)
  const names = Object.keys(properties).map((name) => `${name}${required.includes(name) ? "" : "?"}`)
  return `{${names.join(", ")}}`
}

const methods = (): string =>
  Object.entries(contract)
    .map(([name, method]) => {
      const { properties = {}, required = [] } = jsonSchema(method.params)
      const params =
        name === "session/start"
          ? "Params: the fields of a SessionSpec, and `ifExists`; see above.\n\n"
          : Object.keys(properties).length === 0
            ? "Params: `{}`.\n\n"
            : `${Object.entries(properties)
                .map(
                  ([field, schema]) =>
                    `- \`${field}\`${required.includes(field) ? "" : " (optional)"}: ${code(typeText(schema))}`,
                )
                .join("\n")}\n\n`
      const errors = method.errors.length === 0 ? "" : `\nErrors: ${method.errors.map(code).join(", ")}.\n`
      return `### ${name}\n\n${method.doc}\n\n${params}Result: ${method.gives}.\n${errors}`
    })
    .join("\n")

const methodList = (): string =>
  markdownTable(
    ["method", "params", "what it does"],
    Object.entries(contract).map(([name, method]) => [
      `[\`${name}\`](#${name.replace("/", "")})`,
      name === "session/start" ? "SessionSpec and `ifExists?`" : code(paramsText(method.params)),
      cell(method.doc),
    ]),
  )

const errors = (): string =>
  markdownTable(
    ["tag", "code", "HTTP"],
    Object.entries(errorCodes).map(([tag, { code: number, http }]) => [code(tag), String(number), String(http)]),
  )

const flagText = (name: string, flag: FlagSpec): string => {
  const value =
    flag.type === "boolean" ? "" : ` ${flag.metavar ?? (flag.choices === undefined ? "VALUE" : flag.choices.join("|"))}`
  return `${flag.alias === undefined ? "" : `-${flag.alias}, `}--${name}${value}`
}

const argumentText = (argument: ArgumentSpec): string => {
  const name = `${argument.name.toUpperCase()}${argument.many ? "…" : ""}`
  return argument.optional ? `[${name}]` : name
}

const flagTable = (flags: Readonly<Record<string, FlagSpec>>): string =>
  markdownTable(
    ["flag", "meaning"],
    Object.entries(flags).map(([name, flag]) => [
      code(flagText(name, flag)),
      `${cell(flag.summary)}${flag.many ? "; may be given more than once" : ""}`,
    ]),
  )

const commandDocs = (): string =>
  (Object.entries(commands) as Array<[string, CommandSpec]>)
    .map(([name, command]) => {
      const usage = [
        "creche",
        name,
        ...(Object.keys(command.flags).length > 0 ? ["[flags]"] : []),
        ...command.arguments.map(argumentText),
        ...(command.commandLine === undefined ? [] : ["-- COMMAND ARGS…"]),
      ].join(" ")
      const about = command.summary.charAt(0).toUpperCase() + command.summary.slice(1)
      return [
        `## ${name}`,
        `    ${usage}`,
        `${about}.${command.detail === undefined ? "" : ` ${command.detail}`}`,
        ...(command.arguments.length === 0 && command.commandLine === undefined
          ? []
          : [
              [
                ...command.arguments.map((argument) => `- \`${argumentText(argument)}\`: ${argument.summary}`),
                ...(command.commandLine === undefined ? [] : [`- \`COMMAND ARGS…\`: ${command.commandLine}`]),
              ].join("\n"),
            ]),
        ...(Object.keys(command.flags).length === 0 ? [] : [flagTable(command.flags)]),
        ...command.examples.map(
          (example) => `    ${example.command}${example.summary === "" ? "" : `   # ${example.summary}`}`,
        ),
      ].join("\n\n")
    })
    .join("\n\n")

/** The command line as it is on any machine. */
const commandText = ({ command = "", args = [] }: { command?: string; args?: ReadonlyArray<string> }): string =>
  [command === process.execPath ? "node" : command, ...args.map((arg) => arg.replace(/^.*\/(?=agent\.)/, ""))]
    .filter((word) => !word.startsWith("--disable-warning"))
    .join(" ")

const templateTable = (): string =>
  markdownTable(
    ["template", "what it is", "command", "protocol"],
    Object.entries(builtInTemplates).map(([name, { description = "", protocol, ...template }]) => [
      code(name),
      cell(description),
      code(commandText(template)),
      code(typeof protocol === "object" ? protocol.type : (protocol ?? specDefaults.protocol.type)),
    ]),
  )

const passedOn = (): string =>
  markdownTable(
    ["template", "variables"],
    Object.entries(builtInTemplates).flatMap(([name, { inheritEnv = [] }]) => {
      const added = [...inheritEnv].filter((each) => !(specDefaults.inheritEnv as ReadonlyArray<string>).includes(each))
      return added.length === 0 ? [] : [[code(name), added.map(code).join(", ")]]
    }),
  )

const fieldTable = (fields: Schema.Struct.Fields): string =>
  markdownTable(
    ["field", "type", "meaning"],
    Object.entries(jsonSchema(Schema.Struct(fields)).properties ?? {}).map(([name, schema]) => [
      code(name),
      code(typeText(schema)),
      cell(schema.description ?? ""),
    ]),
  )

const ownTemplateFields = Object.fromEntries(
  Object.entries(templateFields).filter(([name]) => !Object.hasOwn(sessionSpecFields, name)),
)

const metricTable = (): string =>
  markdownTable(
    ["metric", "type", "labels", "meaning"],
    (Object.entries(metrics) as Array<[string, MetricSpec]>).map(([name, { type, labels, help, bounds }]) => [
      code(name),
      type,
      labels.map(code).join(", "),
      `${cell(help)}${bounds === undefined ? "" : ` Bounds: ${bounds.join(", ")}.`}`,
    ]),
  )

const nameTable = (title: string, names: Readonly<Record<string, string>>): string =>
  markdownTable(
    [title, "meaning"],
    Object.entries(names).map(([name, meaning]) => [code(name), cell(meaning)]),
  )

const parts: Readonly<Record<string, Readonly<Record<string, () => string>>>> = {
  "docs/protocol.md": {
    "session spec": sessionSpec,
    "quiet time": () =>
      `Without \`endOfTurn\`, \`text\` takes ${defaultQuietMs} ms of silence for the end of an answer.`,
    "session fields": () => shape(Session),
    "turn fields": () => shape(Turn),
    "entry types": entries,
    "method list": methodList,
    methods,
    "not offered": () => notOffered.map(code).join(", "),
    errors,
  },
  "docs/cli.md": { "shared flags": () => flagTable(sharedFlags), commands: commandDocs },
  "docs/operations.md": {
    metrics: metricTable,
    spans: () => nameTable("span", spans),
    annotations: () => nameTable("annotation", annotations),
  },
  "docs/templates.md": {
    "built-in templates": templateTable,
    "passed on": passedOn,
    "most templates": () => `Clients can put ${mostTemplates} templates; one more is refused with \`LimitReached\`.`,
    "runtime fields": () => fieldTable(runtimeFields),
    "template fields": () => fieldTable(ownTemplateFields),
  },
}

/** The text with its generated parts made anew. A part that is missing in the text is an error. */
const renew = (file: string, text: string): string =>
  Object.entries(parts[file] ?? {}).reduce((whole, [name, make]) => {
    const begin = `<!-- generated: ${name} -->\n`
    const from = whole.indexOf(begin)
    const to = whole.indexOf("<!-- end -->", from)
    if (from < 0 || to < 0) throw new Error(`${file} has no part "${begin.trim()} … <!-- end -->"`)
    return `${whole.slice(0, from + begin.length)}\n${make()}\n\n${whole.slice(to)}`
  }, text)

const check = process.argv.includes("--check")
let stale = 0
for (const file of Object.keys(parts)) {
  const url = new URL(`../${file}`, import.meta.url)
  const text = readFileSync(url, "utf8")
  const renewed = renew(file, text)
  if (renewed === text) continue
  if (check) {
    stale++
    console.log(`${file} is stale`)
  } else {
    writeFileSync(url, renewed)
    console.log(`${file} written`)
  }
}
process.exitCode = stale > 0 ? 1 : 0
