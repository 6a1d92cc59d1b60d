import { describe, expect, it } from "vitest"
import { otlpSettings, OtlpWrong } from "../../src/config/OtlpConfig.ts"

const defaults = {
  headers: {},
  protocol: "json",
  serviceName: "creche",
  tracesEveryMs: 5000,
  metricsEveryMs: 60_000,
  timeoutMs: 10_000,
}

describe("where traces and metrics go", () => {
  it("is nowhere unless somebody says so", () => {
    expect(otlpSettings(undefined, undefined, { OTEL_SERVICE_NAME: "x" })).toBeUndefined()
    expect(otlpSettings(undefined, undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: "" })).toBeUndefined()
  })

  it("is what the flag says, else the variables, else the configuration", () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://env:4318/" }
    const to = (base: string) => ({ ...defaults, traces: `${base}/v1/traces`, metrics: `${base}/v1/metrics` })
    expect(otlpSettings("http://flag:1", "http://file:2", env)).toEqual(to("http://flag:1"))
    expect(otlpSettings(undefined, "http://file:2", env)).toEqual(to("http://env:4318"))
    expect(otlpSettings(undefined, "http://file:2/otlp", {})).toEqual(to("http://file:2/otlp"))
  })

  it("can be another place for each, or none", () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://a",
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://b/traces",
      OTEL_METRICS_EXPORTER: "none",
    }
    expect(otlpSettings(undefined, undefined, env)).toMatchObject({ traces: "http://b/traces", metrics: null })
    expect(otlpSettings(undefined, undefined, { ...env, OTEL_TRACES_EXPORTER: "none" })).toBeUndefined()
    expect(otlpSettings(undefined, undefined, { ...env, OTEL_SDK_DISABLED: "true" })).toBeUndefined()
  })

  it("takes the other variables as OpenTelemetry has them", () => {
    const env = {
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20x, X-Two = 2 ",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_SERVICE_NAME: "agents",
      OTEL_BSP_SCHEDULE_DELAY: "100",
      OTEL_METRIC_EXPORT_INTERVAL: "200",
      OTEL_EXPORTER_OTLP_TIMEOUT: "300",
    }
    expect(otlpSettings("http://a", undefined, env)).toMatchObject({
      headers: { authorization: "Bearer x", "x-two": "2" },
      protocol: "protobuf",
      serviceName: "agents",
      tracesEveryMs: 100,
      metricsEveryMs: 200,
      timeoutMs: 300,
    })
  })

  it("is refused by the name of what is wrong, without repeating a header's value", () => {
    const wrong = (flag: string | undefined, env: Record<string, string>, says: RegExp) => {
      const refused = otlpSettings(flag, undefined, env)
      expect(refused).toBeInstanceOf(OtlpWrong)
      expect((refused as OtlpWrong).message).toMatch(says)
      expect((refused as OtlpWrong).message).not.toContain("secret")
    }
    wrong("localhost:4318", {}, /^--otlp must be the URL/)
    wrong("http://user:secret@a", {}, /^--otlp must hold no user/)
    wrong("http://a/x?key=secret", {}, /^--otlp must hold no \?/)
    wrong(undefined, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://a/x?key=secret" }, /TRACES_ENDPOINT must hold no \?/)
    wrong(undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: "x" }, /the OTLP endpoint must be/)
    wrong("http://a", { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, /http\/json or http\/protobuf, not grpc/)
    wrong("http://a", { OTEL_EXPORTER_OTLP_HEADERS: "a=1,secret" }, /header 2 is not name=value/)
    wrong("http://a", { OTEL_EXPORTER_OTLP_HEADERS: "a=%zzsecret" }, /header 1 is not name=value/)
    wrong("http://a", { OTEL_EXPORTER_OTLP_TIMEOUT: "soon" }, /OTEL_EXPORTER_OTLP_TIMEOUT must be a number/)
  })
})
