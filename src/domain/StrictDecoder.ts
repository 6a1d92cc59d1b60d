/**
 * Decodes a value from outside by a schema, to the letter: every problem at once, each with its path and what to do about
 * it. It never repeats a value that it was given, which may be a secret. Called for the params of every method and for
 * the configuration file.
 */
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import { protocolNames } from "./ProtocolSpec.ts"

type Path = ReadonlyArray<string>

/** What is wrong at one place; `message` says what to do about it. */
export interface Problem {
  readonly path: Path
  readonly message: string
  /** The name at the end of the path is at fault, and not what stands under it. */
  readonly isName?: true
}

/** More than these help nobody. */
const mostProblems = 50

/** Schema's word for a name that it does not take. */
const excess = "Expected no excess property"

const quoted = (names: ReadonlyArray<string>): string => names.map((name) => JSON.stringify(name)).join(", ")

/** What a union wants, in the words of the protocol; by the last names of the path. */
const unions: ReadonlyArray<{ readonly path: string; readonly wants: string }> = [
  {
    path: "endOfTurn",
    wants:
      'must be exactly one of {"prompt": REGEX}, {"sentinel": {"send", "expect"}}, {"delimiter": LINE}, {"quietMs": MILLISECONDS}',
  },
  { path: "protocol", wants: `must be one of ${quoted(protocolNames)}, or an object {"type": one of these, …options}` },
  { path: "shutdown", wants: 'must be "brutal_kill" or an object {"signal", "graceMs", "stdinEofMs"}' },
  { path: "inheritEnv", wants: 'must be "all" or an array of names' },
  {
    path: "prompt",
    wants:
      'must be a string or an array of content blocks: {"type": "text", "text"}, {"type": "file", "path"}, {"type": "resource", "name", "mimeType", "data"}',
  },
  {
    path: "block",
    wants:
      'must be a content block: {"type": "text", "text"}, {"type": "file", "path"} or {"type": "resource", "name", "mimeType", "data"}',
  },
]

/** What the keys of a record must be; by the record's name. */
const keys: Readonly<Record<string, string>> = {
  env: "a variable's name must not be empty and holds no '='",
  templates:
    "a template's name must be 1 to 128 letters, digits, dots, underscores or hyphens, and begin with a letter or digit",
}

interface Node {
  readonly _tag: string
  readonly types?: ReadonlyArray<Node>
  readonly rest?: ReadonlyArray<Node>
  readonly elements?: ReadonlyArray<Node>
  readonly propertySignatures?: ReadonlyArray<{ readonly name: PropertyKey; readonly type: Node }>
  readonly indexSignatures?: ReadonlyArray<{ readonly type: Node }>
  readonly literal?: unknown
}

const propertyOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined

/** The members of a union that the value's `type` chose; all of them where it chose none. */
const chosen = (members: ReadonlyArray<Node>, value: unknown): ReadonlyArray<Node> => {
  const type = propertyOf(value, "type")
  const fitting = members.filter((member) =>
    member.propertySignatures?.some((property) => property.name === "type" && property.type.literal === type),
  )
  return fitting.length > 0 ? fitting : members
}

/** The names that an object may have at this path, over all members of a union. */
const fieldsAt = (node: Node, path: Path, value: unknown): ReadonlyArray<string> => {
  if (node.types !== undefined) {
    return [...new Set(chosen(node.types, value).flatMap((member) => fieldsAt(member, path, value)))]
  }
  const [head, ...tail] = path
  if (head === undefined) return (node.propertySignatures ?? []).map((property) => String(property.name))
  const property = node.propertySignatures?.find((candidate) => candidate.name === head)
  if (property !== undefined) return fieldsAt(property.type, tail, propertyOf(value, head))
  const element = node.rest?.[0] ?? node.indexSignatures?.[0]?.type
  return element === undefined ? [] : fieldsAt(element, tail, propertyOf(value, head))
}

/** How many letters must change, up to `most`. */
const distance = (a: string, b: string, most: number): number => {
  if (Math.abs(a.length - b.length) > most) return most + 1
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? most + 1
}

const unknownField = (ast: Node, path: Path, value: unknown): string => {
  const key = keys[path.at(-2) ?? ""]
  if (key !== undefined) return key
  const name = path.at(-1) ?? ""
  const known = fieldsAt(ast, path.slice(0, -1), value)
  const near = known
    .map((candidate) => ({ candidate, far: distance(name.toLowerCase(), candidate.toLowerCase(), 3) }))
    .toSorted((a, b) => a.far - b.far)[0]
  const remedy =
    known.length === 0
      ? "it takes none"
      : near !== undefined && near.far <= Math.min(3, Math.floor(near.candidate.length / 2))
        ? `did you mean ${JSON.stringify(near.candidate)}?`
        : `known are ${known.join(", ")}`
  return `is not a known field; ${remedy}`
}

const articles: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  boolean: "true or false",
  object: "an object",
  array: "an array",
  "JSON value": "a JSON value",
}

/** Schema's own words turned into a remedy. */
const remedy = (ast: Node, path: Path, value: unknown, message: string): string => {
  if (message === "Missing key") return "is required"
  if (message === excess) return unknownField(ast, path, value)
  const inBlocks = path.at(-2) === "prompt" || path.at(-2) === "attachments"
  const union = unions.find((candidate) => candidate.path === (inBlocks ? "block" : path.at(-1)))
  const expected = /^Expected (.*)$/s.exec(message)?.[1]
  if (expected === undefined) return message
  if (union !== undefined) return union.wants
  const parts = expected.split(" | ")
  if (parts.length === 1) return `must be ${articles[expected] ?? expected}`
  const choices = parts.map((part) => articles[part] ?? part)
  return parts.every((part) => part.startsWith('"'))
    ? `must be one of ${choices.join(", ")}`
    : `must be ${choices.join(" or ")}`
}

/**
 * A union without a `type` reports what each of its members misses. What a client wants to know is the choice,
 * or what is wrong with the member that it chose.
 */
const settleUnion = (issues: ReadonlyArray<{ readonly path: Path; readonly message: string }>) => {
  const under = issues.filter((issue) => issue.path.includes("endOfTurn") && issue.path.at(-1) !== "endOfTurn")
  if (under.length === 0) return issues
  const structural = (message: string) => message === "Missing key" || message === excess
  const at = under[0]?.path.slice(0, under[0].path.indexOf("endOfTurn") + 1) ?? []
  const real = under.filter((issue) => !structural(issue.message) || issue.path.length > at.length + 1)
  const settled = real.length > 0 ? real : [{ path: at, message: "Expected one of its kinds" }]
  return [...issues.filter((issue) => !under.includes(issue)), ...settled]
}

const problemsOf = (ast: Node, value: unknown, issue: SchemaIssue.Issue): ReadonlyArray<Problem> => {
  const flat = SchemaIssue.makeFormatterStandardSchemaV1()(issue).issues.map(({ path, message }) => ({
    path: (path ?? []).map((key) => String(typeof key === "object" ? key.key : key)),
    message,
  }))
  const problems: Array<Problem> = []
  for (const { path, message } of settleUnion(flat)) {
    const at = path.join(".")
    const text = remedy(ast, path, value, message)
    if (!problems.some((known) => known.path.join(".") === at && known.message === text)) {
      problems.push({ path, message: text, ...(message === excess ? { isName: true } : {}) })
    }
    if (problems.length === mostProblems) break
  }
  return problems
}

/** Deeper JSON could be taken in and then not be written out again without overflowing the stack. */
export const deepest = 128

export const isShallow = (value: unknown, levels: number = deepest): boolean => {
  if (typeof value !== "object" || value === null) return true
  if (levels === 0) return false
  for (const key in value) {
    if (!isShallow((value as Readonly<Record<string, unknown>>)[key], levels - 1)) return false
  }
  return true
}

export type Decoded<A> =
  | { readonly _tag: "Valid"; readonly value: A }
  | { readonly _tag: "Wrong"; readonly problems: ReadonlyArray<Problem> }

export interface StrictDecoder<A> {
  readonly decode: (value: unknown) => Decoded<A>
  /** The fields of the object that the schema takes; empty where it takes none. */
  readonly fields: ReadonlyArray<string>
}

/** Compile it once. Give it no value that `isShallow` refuses. */
export const strictDecoder = <A>(schema: Schema.Top & { readonly Type: A }): StrictDecoder<A> => {
  const ast = schema.ast as unknown as Node
  const decodeExit = Schema.decodeUnknownExit(schema as unknown as Schema.Decoder<A>, {
    onExcessProperty: "error",
    errors: "all",
  })
  const decode = (value: unknown): Decoded<A> => {
    const exit = decodeExit(value)
    if (exit._tag === "Success") return { _tag: "Valid", value: exit.value }
    const reason = exit.cause.reasons[0]
    if (reason?._tag === "Fail") return { _tag: "Wrong", problems: problemsOf(ast, value, reason.error.issue) }
    throw new Error("the value could not be decoded", { cause: exit.cause })
  }
  return { decode, fields: fieldsAt(ast, [], undefined) }
}
