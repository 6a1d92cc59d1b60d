/** How a command's runtime logs, as its flags say. */
import type { LogFormat, LogLevel, LogOptions } from "../config/Logging.ts"

interface LogFlags {
  readonly "log-format": LogFormat | undefined
  readonly "log-level": LogLevel | undefined
}

export const logOf = ({ "log-format": format, "log-level": level }: LogFlags): LogOptions => ({
  ...(format === undefined ? {} : { format }),
  ...(level === undefined ? {} : { level }),
})
