/**
 * How a child is to be spoken to, as a client says it: a protocol with its options. What the options do is
 * known to `protocols` alone.
 */
import * as Schema from "effect/Schema"
import { cString, nonEmpty, positive } from "./SpecValues.ts"

const regex = Schema.String.check(
  Schema.makeFilter((source: string) => {
    try {
      new RegExp(source)
      return undefined
    } catch (error) {
      return `must be a regular expression: ${(error as Error).message}`
    }
  }),
)

export const EndOfTurn = Schema.Union([
  Schema.Struct({ prompt: regex }),
  Schema.Struct({ sentinel: Schema.Struct({ send: nonEmpty, expect: nonEmpty }) }),
  Schema.Struct({ delimiter: nonEmpty }),
  Schema.Struct({ quietMs: positive }),
])
export type EndOfTurn = typeof EndOfTurn.Type

/** Arguments that name a conversation of the program's own. */
const conversationArgs = Schema.Array(cString).check(
  Schema.makeFilter((args: ReadonlyArray<string>) => {
    if (args.length === 0) return 'must not be empty: give the arguments, e.g. ["--resume", "{id}"], or leave it out'
    if (args.some((arg) => arg.includes("{id}"))) return undefined
    return 'must hold {id} in one of its arguments: it is replaced by the id of the conversation, e.g. ["--resume", "{id}"]'
  }),
)

export const ConversationSpec = Schema.Struct({
  field: nonEmpty,
  resume: Schema.optionalKey(conversationArgs),
  fork: Schema.optionalKey(conversationArgs),
})
export type ConversationSpec = typeof ConversationSpec.Type

const agentOptions = {
  model: Schema.optionalKey(nonEmpty),
  resume: Schema.optionalKey(nonEmpty),
  systemPrompt: Schema.optionalKey(cString.check(Schema.isMinLength(1, { message: "must not be empty" }))),
  extraArgs: Schema.optionalKey(Schema.Array(cString)),
}

/** A request or a notification of JSON-RPC. */
const RpcCall = Schema.Struct({
  method: nonEmpty,
  params: Schema.optionalKey(
    Schema.Union([Schema.Record(Schema.String, Schema.Json), Schema.Array(Schema.Json)]).annotate({
      message: "must be an object or an array; leave it out where there are no params",
    }),
  ),
})

const rpcOptions = {
  framing: Schema.optionalKey(Schema.Literals(["lines", "contentLength"])),
  handshake: Schema.optionalKey(Schema.Struct({ request: RpcCall, notify: Schema.optionalKey(RpcCall) })),
  cancel: Schema.optionalKey(
    Schema.Struct({ ...RpcCall.fields, answered: Schema.optionalKey(Schema.Boolean) }).check(
      Schema.makeFilter(({ params }) =>
        JSON.stringify(params ?? null).includes("{id}")
          ? undefined
          : 'must hold "{id}" in its params: it is replaced by the id of the request, e.g. {"method": "$/cancelRequest", "params": {"id": "{id}"}}',
      ),
    ),
  ),
  version: Schema.optionalKey(Schema.Boolean),
}

const lspOptions = {
  initializationOptions: Schema.optionalKey(Schema.Json),
  capabilities: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  rootPath: Schema.optionalKey(cString.check(Schema.isMinLength(1, { message: "must not be empty" }))),
}

const mcpOptions = {
  protocolVersion: Schema.optionalKey(nonEmpty),
  capabilities: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  clientInfo: Schema.optionalKey(Schema.Struct({ name: nonEmpty, version: nonEmpty })),
}

export const protocolNames = [
  "text",
  "lines",
  "ndjson",
  "jsonrpc",
  "lsp",
  "mcp",
  "claude",
  "codex",
  "acp",
  "pty",
] as const
export type ProtocolName = (typeof protocolNames)[number]

export const ProtocolSpec = Schema.Union([
  Schema.Struct({ type: Schema.Literal("text"), endOfTurn: Schema.optionalKey(EndOfTurn) }),
  Schema.Struct({ type: Schema.Literal("lines") }),
  Schema.Struct({
    type: Schema.Literal("ndjson"),
    end: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
    conversation: Schema.optionalKey(ConversationSpec),
  }),
  Schema.Struct({ type: Schema.Literal("jsonrpc"), ...rpcOptions }),
  Schema.Struct({ type: Schema.Literal("lsp"), ...lspOptions }),
  Schema.Struct({ type: Schema.Literal("mcp"), ...mcpOptions }),
  Schema.Struct({ type: Schema.Literal("claude"), ...agentOptions }),
  Schema.Struct({
    type: Schema.Literal("codex"),
    ...agentOptions,
    approvalPolicy: Schema.optionalKey(Schema.Literals(["untrusted", "on-failure", "on-request", "never"])),
    sandbox: Schema.optionalKey(Schema.Literals(["read-only", "workspace-write", "danger-full-access"])),
  }),
  Schema.Struct({
    type: Schema.Literal("acp"),
    ...agentOptions,
    files: Schema.optionalKey(Schema.Literals(["read", "write"])),
    forgets: Schema.optionalKey(Schema.Boolean),
  }),
  Schema.Struct({ type: Schema.Literal("pty") }),
])
export type ProtocolSpec = typeof ProtocolSpec.Type
type OptionsOf<Name extends ProtocolName> = Omit<Extract<ProtocolSpec, { readonly type: Name }>, "type">
export type JsonRpcOptions = OptionsOf<"jsonrpc">
export type LspOptions = OptionsOf<"lsp">
export type McpOptions = OptionsOf<"mcp">

/** How long `text` waits for silence when it is told no end of turn. */
export const defaultQuietMs = 500
