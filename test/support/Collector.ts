/** An OTLP collector over HTTP with JSON on loopback, which takes what it is sent, or behaves badly as it is told. */
import * as http from "node:http"
import type { AddressInfo } from "node:net"

export interface CollectedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startedAt: number
  readonly endedAt: number
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: Readonly<Record<string, unknown>> }>
  readonly status: { readonly code: number; readonly message?: string }
}

export interface CollectedMetric {
  readonly name: string
  readonly description: string
  readonly [kind: string]: any
}

type Mood = "well" | "silent" | "failing"

const valuesOf = (attributes: ReadonlyArray<{ key: string; value: Record<string, unknown> }>) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

const ms = (nanos: string): number => Number(BigInt(nanos) / 1_000_000n)

export class Collector {
  mood: Mood = "well"
  readonly spans: Array<CollectedSpan> = []
  /** Of the newest request. */
  metrics: ReadonlyArray<CollectedMetric> = []
  resource: Readonly<Record<string, unknown>> = {}
  readonly headers: Array<http.IncomingHttpHeaders> = []
  requests = 0
  /** Requests that it has not answered. */
  open = 0
  readonly #server: http.Server

  private constructor() {
    this.#server = http.createServer((request, response) => this.#on(request, response))
  }

  static async start(): Promise<Collector> {
    const collector = new Collector()
    await new Promise<void>((resolve) => collector.#server.listen(0, "127.0.0.1", resolve))
    return collector
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): Promise<void> {
    this.#server.closeAllConnections()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }

  /** The spans of one trace by name; the trace is that of this turn. */
  traceOf(turn: string): Readonly<Record<string, CollectedSpan>> | undefined {
    const root = this.spans.find(({ attributes }) => attributes["creche.turn"] === turn)
    if (root === undefined) return undefined
    return Object.fromEntries(
      this.spans.filter(({ traceId }) => traceId === root.traceId).map((span) => [span.name, span]),
    )
  }

  #on(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.requests++
    this.open++
    response.on("close", () => this.open--)
    this.headers.push(request.headers)
    const chunks: Array<Buffer> = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      if (this.mood === "silent") return
      if (this.mood === "failing") return void response.writeHead(500).end()
      this.#take(request.url!, JSON.parse(Buffer.concat(chunks).toString("utf8")))
      response.writeHead(200, { "Content-Type": "application/json" }).end("{}")
    })
  }

  #take(url: string, body: any): void {
    if (url === "/v1/metrics") {
      const [{ resource, scopeMetrics }] = body.resourceMetrics
      this.resource = valuesOf(resource.attributes)
      this.metrics = scopeMetrics[0].metrics
      return
    }
    if (url !== "/v1/traces") throw new Error(`nothing is taken at ${url}`)
    for (const { resource, scopeSpans } of body.resourceSpans) {
      this.resource = valuesOf(resource.attributes)
      for (const span of scopeSpans[0].spans) {
        this.spans.push({
          ...span,
          startedAt: ms(span.startTimeUnixNano),
          endedAt: ms(span.endTimeUnixNano),
          attributes: valuesOf(span.attributes),
          events: span.events.map((event: any) => ({ name: event.name, attributes: valuesOf(event.attributes) })),
        })
      }
    }
  }
}
