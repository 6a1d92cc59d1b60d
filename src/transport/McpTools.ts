/**
 * The tools that MCP offers: one for each method of the contract that is of use to a model or its host, with the method's own
 * doc and params, and what MCP adds to three of them. A table; `McpCalls` carries calls out, `McpSession` serves them.
 */
import * as Schema from "effect/Schema"
import { contract, type Method } from "./Contract.ts"

/** What a client may tell its user about a tool. */
interface Annotations {
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  /** Whether what it does can reach beyond this runtime: sessions can. */
  readonly openWorldHint: boolean
}

export type ToolKind = "reads" | "adds" | "ends"

interface ToolSpec {
  readonly method: Method
  readonly title: string
  readonly kind: ToolKind
  /** Said besides the method's own doc. */
  readonly note?: string
  /** Fields that this tool takes besides the method's. */
  readonly adds?: Schema.Struct.Fields
  /** Fields of the method that mean nothing here. */
  readonly drops?: ReadonlyArray<string>
  /** Params where the caller gives none: a model pays for every word that it reads. */
  readonly defaults?: Readonly<Record<string, unknown>>
}

const say = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema.annotate({ description }))
const milliseconds = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

const onPermission = say(
  Schema.Literals(["return", "wait"]),
  "what happens when the agent asks for leave meanwhile: return (default) answers at once with the turn as it stands and pendingRequests, so that permission_answer can be called; wait goes on waiting",
)

export const askFields = {
  waitMs: say(
    milliseconds,
    "answer after so long with the turn as it stands, also while it runs; turn_wait goes on waiting for it (default: until it ended)",
  ),
  onPermission,
  cancelOnAbort: say(
    Schema.Boolean,
    "when this call is cancelled, cancel the turn too (default: false: only the waiting ends)",
  ),
}
export const waitFields = { onPermission }
export const listFields = {
  full: say(
    Schema.Boolean,
    "whole sessions, as session_get gives them; default: of each spec only what tells sessions apart",
  ),
}

const whileItRuns =
  "With a progress token, progress tells what the session does meanwhile. Cancelling this call ends the waiting"

const tools = {
  session_start: { method: "session/start", title: "Start a session", kind: "adds" },
  session_ask: {
    method: "session/ask",
    title: "Ask a session",
    kind: "adds",
    note: `${whileItRuns}, not the turn, unless cancelOnAbort is true.`,
    adds: askFields,
    drops: ["stream"],
  },
  session_tell: {
    method: "session/tell",
    title: "Hand a session a prompt",
    kind: "adds",
    note: "turn_wait or turn_get gives the answer later.",
    drops: ["stream"],
  },
  session_list: { method: "session/list", title: "List sessions", kind: "reads", adds: listFields },
  session_get: { method: "session/get", title: "Look at a session", kind: "reads" },
  session_cancel: { method: "session/cancel", title: "Cancel a turn", kind: "ends" },
  session_stop: { method: "session/stop", title: "Stop a session", kind: "ends" },
  session_transcript: {
    method: "session/transcript",
    title: "Read a transcript",
    kind: "reads",
    defaults: { limit: 200 },
  },
  session_history: {
    method: "session/history",
    title: "List a session's turns",
    kind: "reads",
    defaults: { limit: 20 },
  },
  session_search: {
    method: "session/search",
    title: "Search prompts and answers",
    kind: "reads",
    defaults: { limit: 20 },
  },
  permission_answer: { method: "session/answer", title: "Answer a permission request", kind: "adds" },
  turn_get: { method: "turn/get", title: "Look at a turn", kind: "reads" },
  turn_wait: {
    method: "turn/wait",
    title: "Wait for a turn",
    kind: "reads",
    note: `${whileItRuns}.`,
    adds: waitFields,
  },
  session_suspend: { method: "session/suspend", title: "Suspend a session", kind: "ends" },
  session_resume: { method: "session/resume", title: "Resume a session", kind: "adds" },
  session_restart: { method: "session/restart", title: "Restart a session", kind: "ends" },
  session_remove: { method: "session/remove", title: "Remove a session", kind: "ends" },
  session_fork: { method: "session/fork", title: "Fork a session", kind: "adds" },
  session_extend: { method: "session/extend", title: "Say how long a session lives", kind: "ends" },
  session_authenticate: { method: "session/authenticate", title: "Authenticate a session's agent", kind: "adds" },
  session_write: { method: "session/write", title: "Write to a session's stdin", kind: "adds" },
  session_signal: { method: "session/signal", title: "Signal a session's processes", kind: "ends" },
  template_list: { method: "template/list", title: "List templates", kind: "reads" },
  template_get: { method: "template/get", title: "Look at a template", kind: "reads" },
  template_put: { method: "template/put", title: "Keep a template", kind: "ends" },
  template_remove: { method: "template/remove", title: "Forget a template", kind: "ends" },
  supervisor_start: { method: "supervisor/start", title: "Start a supervisor", kind: "adds" },
  supervisor_stop: { method: "supervisor/stop", title: "Stop a supervisor and its sessions", kind: "ends" },
  runtime_info: { method: "runtime/info", title: "About the runtime", kind: "reads" },
  runtime_stats: { method: "runtime/stats", title: "Counts of the runtime", kind: "reads" },
  runtime_health: { method: "runtime/health", title: "Health of the runtime", kind: "reads" },
  runtime_tree: { method: "runtime/tree", title: "The supervision tree", kind: "reads" },
} as const satisfies Record<string, ToolSpec>

export type ToolName = keyof typeof tools
/** The tool as clients see it in `tools/list`. */
export interface ListedTool {
  readonly name: ToolName
  readonly title: string
  readonly description: string
  readonly inputSchema: Readonly<Record<string, unknown>>
  readonly annotations: Annotations
}

export const toolSpecs: Readonly<Record<ToolName, ToolSpec>> = tools
export const toolNames = Object.keys(tools) as ReadonlyArray<ToolName>
export const isTool = (name: string): name is ToolName => Object.hasOwn(tools, name)

/** The tool that carries out a method, for sentences that speak of methods. */
const toolOf = new Map<string, ToolName>(toolNames.map((name) => [toolSpecs[name].method, name]))
export const inTools = (sentence: string): string =>
  sentence.replace(
    /\b(?:session|turn|template|supervisor|runtime)\/[a-z]+\b/g,
    (method) => toolOf.get(method) ?? method,
  )

interface ObjectSchema {
  readonly properties?: Readonly<Record<string, unknown>>
  readonly required?: ReadonlyArray<string>
}
const jsonSchema = (schema: Schema.Top): ObjectSchema =>
  Schema.toJsonSchemaDocument(schema, { onExcessProperty: "error" }).schema as ObjectSchema

/** The fields of the contract are few and stand in many methods. */
const fieldDocs: Readonly<Record<string, string>> = {
  session: "name, task or id of the session",
  prompt: "what to ask: text, or content blocks",
  attachments: "content blocks that go with the prompt",
  timeoutMs: "milliseconds",
  idempotencyKey: "the same key in the same session gives the first turn again",
  turn: "id of the turn",
  limit: "at most so many",
  cursor: "nextCursor of the page before",
  after: "only entries with a greater seq",
  before: "nextBefore of the page before",
  request: "id of the request",
  outcome: "allow, allow_always, deny, or an option's own id",
  query: "words to look for",
}

const listed = (name: ToolName): ListedTool => {
  const { method, title, kind, note, adds = {}, drops = [], defaults = {} } = toolSpecs[name]
  const { doc, gives, params } = contract[method]
  const { properties = {}, required = [] } = jsonSchema(params)
  const fields = Object.entries({ ...properties, ...jsonSchema(Schema.Struct(adds)).properties })
    .filter(([field]) => !drops.includes(field))
    .map(([field, schema]) => {
      const described = schema as { readonly description?: string }
      return [
        field,
        described.description === undefined && fieldDocs[field] !== undefined
          ? { ...described, description: fieldDocs[field] }
          : schema,
      ]
    })
  const otherwise = Object.entries(defaults).map(
    ([field, value]) => ` Here the default of ${field} is ${String(value)}.`,
  )
  return {
    name,
    title,
    description: inTools(`${doc} Result: ${gives}.${otherwise.join("")}${note === undefined ? "" : ` ${note}`}`),
    inputSchema: {
      type: "object",
      properties: Object.fromEntries(fields),
      ...(required.length === 0 ? {} : { required }),
      additionalProperties: false,
    },
    annotations: {
      title,
      readOnlyHint: kind === "reads",
      destructiveHint: kind === "ends",
      idempotentHint: kind === "reads",
      openWorldHint: name === "session_ask" || name === "session_tell" || name === "session_start",
    } as Annotations,
  }
}

let all: ReadonlyArray<ListedTool> | undefined
/** Made once: the schemas never change. */
export const listedTools = (): ReadonlyArray<ListedTool> => (all ??= toolNames.map(listed))
