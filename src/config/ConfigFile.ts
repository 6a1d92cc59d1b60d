/**
 * What creche.yaml holds, as a schema: its types, its strict decoder, and the JSON schema that editors read. Knows neither
 * YAML nor the disk.
 */
import * as Schema from "effect/Schema"
import { RetentionSpec, SessionName, sessionSpecFields } from "../domain/SessionSpec.ts"
import { strictDecoder } from "../domain/StrictDecoder.ts"
import { restartStrategies, supervisorPathPattern } from "../domain/SupervisorStore.ts"
import { Template, TemplateName } from "../domain/Template.ts"
import { logFormats, logLevels } from "./Logging.ts"

const path = Schema.String.check(
  Schema.isMinLength(1, { message: "must not be empty" }),
  Schema.isPattern(/^[^\0]*$/u, { message: "must not contain a NUL byte" }),
)
const atLeastOne = Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))
const say = <S extends Schema.Top>(schema: S, description: string) =>
  Schema.optionalKey(schema.annotate({ description }))

/**
 * What the runtime itself is told. Every field is optional; flags and environment variables come before it. Limits of the
 * runtime have their place here.
 */
export const runtimeFields = {
  dataDirectory: say(path, "data directory; --data and CRECHE_DATA come first"),
  socket: say(path, "socket of the runtime; --socket and CRECHE_SOCKET come first"),
  log: say(
    Schema.Struct({
      format: say(Schema.Literals(logFormats), "one line each, so (default: logfmt)"),
      level: say(Schema.Literals(logLevels), "the least that is told (default: info)"),
    }),
    "how the runtime's own words go to standard error: {format, level}; --log-format and --log-level come first",
  ),
  drainMs: say(
    Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
    "how long running turns may go on at SIGTERM, SIGINT or SIGHUP, in ms (default: 0); --drain comes first",
  ),
  otlp: say(
    path,
    "URL of an OTLP collector to which traces of turns and metrics are sent; --otlp and OTEL_EXPORTER_OTLP_ENDPOINT come first",
  ),
  restarts: say(
    Schema.Struct({
      burst: say(atLeastOne, "restarts that may happen at once (default: 50)"),
      perSecond: say(atLeastOne, "restarts a second after that (default: 100)"),
    }),
    "how fast crashed sessions of the whole runtime are started again: {burst, perSecond}",
  ),
  store: say(
    Schema.Literals(["sqlite", "memory"]),
    "where sessions, turns and transcripts are kept: in the data directory, or nowhere once the runtime ends (default: sqlite)",
  ),
  retention: say(
    RetentionSpec,
    "{maxAgeMs, maxBytes}: older or more turns and entries than that are forgotten, oldest first; the newest turn of each session stays",
  ),
  maxLiveSessions: say(
    atLeastOne,
    "so many sessions have a process at once; for one more the least recently used idle one is suspended",
  ),
  maxLiveProcesses: say(
    atLeastOne,
    "so many processes, descendants counted, may be there when a session is started; idle sessions are suspended as above",
  ),
  whenFull: say(
    Schema.Literals(["wait", "refuse"]),
    "what becomes of a start where no session is idle: it waits its turn, or fails with LimitReached (default: wait)",
  ),
}

const ConfiguredSupervisor = Schema.Struct({
  path: Schema.String.check(
    Schema.isPattern(supervisorPathPattern, {
      message: "must be root/NAME, or /NAME below another supervisor, with names as sessions have them",
    }),
  ).annotate({ description: "root/NAME, or below another one that stands before it in this list; each once" }),
  strategy: say(
    Schema.Literals(restartStrategies),
    "who is restarted with a session that crashed (default: one_for_one)",
  ),
  maxRestarts: say(
    Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
    "a limit of its own: more restarts than that within withinMs, and it gives up (default: none)",
  ),
  withinMs: say(atLeastOne, "the window of maxRestarts"),
})

/** A session of the file has a name of its own: it is found by it, also after the next start. */
const ConfiguredSession = Schema.Struct({
  ...sessionSpecFields,
  name: SessionName.annotate({ description: "its name; each once" }),
})

export const ConfigFile = Schema.Struct({
  version: Schema.Literal(1).annotate({ description: "the version of this format: 1" }),
  runtime: say(Schema.Struct(runtimeFields), "what the runtime itself is told"),
  templates: say(
    Schema.Record(TemplateName, Template),
    "named, partial SessionSpecs; one of a built-in template's name hides that one",
  ),
  supervisors: say(
    Schema.Array(ConfiguredSupervisor),
    "supervisors that are there when the sessions start; below one whose strategy has an order they start in that of the file",
  ),
  sessions: say(Schema.Array(ConfiguredSession), "sessions that are started with the runtime"),
})
export type ConfigFile = typeof ConfigFile.Type

export const configDecoder = strictDecoder<ConfigFile>(ConfigFile)

/** The JSON schema (draft 2020-12) of the file. What it cannot say, such as that names are unique, `config check` does. */
export const configJsonSchema = (): Readonly<Record<string, unknown>> => {
  const { schema, definitions } = Schema.toJsonSchemaDocument(ConfigFile, { onExcessProperty: "error" })
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "creche.yaml",
    description: "The configuration of creche serve --config",
    ...schema,
    ...(Object.keys(definitions).length === 0 ? {} : { $defs: definitions }),
  }
}
