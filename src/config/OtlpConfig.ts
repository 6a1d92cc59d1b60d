/**
 * Where traces and metrics are sent, from `--otlp`, the configuration and the variables that OpenTelemetry has for it. Flags
 * come before variables, and those before the configuration. Decides; sends nothing.
 */
import * as Data from "effect/Data"
import type { OtlpTarget } from "../domain/Telemetry.ts"

export class OtlpWrong extends Data.TaggedError("OtlpWrong")<{ readonly detail: string }> {
  override get message() {
    return this.detail
  }
}

type Env = Readonly<Record<string, string | undefined>>

const protocols = { "http/json": "json", "http/protobuf": "protobuf" } as const

/** Undefined: nothing is sent. */
export const otlpSettings = (
  flag: string | undefined,
  configured: string | undefined,
  env: Env,
): OtlpTarget | OtlpWrong | undefined => {
  const of = (name: string): string | undefined => env[name]?.trim() || undefined
  if (flag === undefined && of("OTEL_SDK_DISABLED")?.toLowerCase() === "true") return undefined
  const base = flag ?? of("OTEL_EXPORTER_OTLP_ENDPOINT") ?? configured
  try {
    const endpoint = (signal: "traces" | "metrics"): string | null => {
      const upper = signal.toUpperCase()
      const own = flag === undefined ? of(`OTEL_EXPORTER_OTLP_${upper}_ENDPOINT`) : undefined
      if (of(`OTEL_${upper}_EXPORTER`)?.toLowerCase() === "none") return null
      if (own !== undefined) return checked(own, `OTEL_EXPORTER_OTLP_${upper}_ENDPOINT`)
      if (base === undefined) return null
      const url = checked(base, flag === undefined ? "the OTLP endpoint" : "--otlp")
      return `${url.replace(/\/+$/, "")}/v1/${signal}`
    }
    const settings = { traces: endpoint("traces"), metrics: endpoint("metrics") }
    if (settings.traces === null && settings.metrics === null) return undefined
    const protocol = of("OTEL_EXPORTER_OTLP_PROTOCOL") ?? "http/json"
    if (!Object.hasOwn(protocols, protocol)) {
      throw new OtlpWrong({ detail: `OTEL_EXPORTER_OTLP_PROTOCOL must be http/json or http/protobuf, not ${protocol}` })
    }
    return {
      ...settings,
      headers: headersOf(of("OTEL_EXPORTER_OTLP_HEADERS")),
      protocol: protocols[protocol as keyof typeof protocols],
      serviceName: of("OTEL_SERVICE_NAME") ?? "creche",
      tracesEveryMs: millisecondsOf(env, "OTEL_BSP_SCHEDULE_DELAY", 5_000),
      metricsEveryMs: millisecondsOf(env, "OTEL_METRIC_EXPORT_INTERVAL", 60_000),
      timeoutMs: millisecondsOf(env, "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000),
    }
  } catch (error) {
    if (error instanceof OtlpWrong) return error
    throw error
  }
}

const checked = (text: string, where: string): string => {
  const url = URL.parse(text)
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new OtlpWrong({ detail: `${where} must be the URL of a collector, as http://127.0.0.1:4318` })
  }
  if (url.username !== "" || url.password !== "") {
    throw new OtlpWrong({ detail: `${where} must hold no user or password; use OTEL_EXPORTER_OTLP_HEADERS` })
  }
  // `/v1/traces` would be added to it; and the log tells which URL fails.
  if (text.includes("?") || text.includes("#")) {
    throw new OtlpWrong({ detail: `${where} must hold no ? and no #; for a key use OTEL_EXPORTER_OTLP_HEADERS` })
  }
  return text
}

const millisecondsOf = (env: Env, name: string, otherwise: number): number => {
  const text = env[name]?.trim() || String(otherwise)
  if (/^\d{1,9}$/.test(text) && Number(text) > 0) return Number(text)
  throw new OtlpWrong({ detail: `${name} must be a number of milliseconds` })
}

/** `name=value,name=value`, percent-encoded. The values are nobody's business: errors name the place alone. */
const headersOf = (text: string | undefined): Readonly<Record<string, string>> => {
  const headers: Record<string, string> = {}
  for (const [at, pair] of (text ?? "").split(",").entries()) {
    if (pair.trim() === "") continue
    const [, name = "", value = ""] = /^\s*([^=\s]+)\s*=(.*)$/s.exec(pair) ?? []
    try {
      if (name === "") throw new Error("no name")
      headers[name.toLowerCase()] = decodeURIComponent(value.trim())
    } catch {
      throw new OtlpWrong({ detail: `OTEL_EXPORTER_OTLP_HEADERS: header ${at + 1} is not name=value` })
    }
  }
  return headers
}
