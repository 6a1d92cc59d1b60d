/** How the runtime's own words go to stderr: one line each, as logfmt or JSON, from a level on. stdout is for results, or protocol. */
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"

export const logFormats = ["logfmt", "json"] as const
export type LogFormat = (typeof logFormats)[number]

/** From the most to the least. */
export const logLevels = ["debug", "info", "warn", "error", "none"] as const
export type LogLevel = (typeof logLevels)[number]

export interface LogOptions {
  /** Default: `logfmt`. */
  readonly format?: LogFormat | undefined
  /** The least that is told; default: `info`. */
  readonly level?: LogLevel | undefined
}

const minimum = { debug: "Debug", info: "Info", warn: "Warn", error: "Error", none: "None" } as const

/** Annotations stand beside the message: a line of a session has its id under `session`, wherever the line comes from. */
const json = Logger.map(Logger.formatStructured, ({ timestamp, level, message, cause, annotations }) =>
  JSON.stringify({
    timestamp,
    level: level.toLowerCase(),
    message,
    ...annotations,
    ...(cause === undefined ? {} : { cause }),
  }),
)

const formats = { logfmt: Logger.formatLogFmt, json } as const

export const logging = ({ format = "logfmt", level = "info" }: LogOptions = {}) =>
  Layer.merge(
    Logger.layer([Logger.withConsoleError(formats[format])]),
    Layer.succeed(References.MinimumLogLevel, minimum[level]),
  )
