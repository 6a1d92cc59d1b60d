/**
 * One side of a measurement, in a process of its own: sets it up, then does a round whenever the driver asks. Ends what
 * it started when told to close, and also when the driver is gone. Started by `SideProcess`.
 */
import type { Measurement, Settings, Side } from "./Measurement.ts"
import { closeTimeoutMs, type SideName, type SideReply, type SideRequest } from "./SideProcess.ts"
import { measurements } from "./scenarios.ts"

const [name, sideName, given] = process.argv.slice(2) as [string, SideName, string]
const settings = JSON.parse(given) as Settings
const measurement = measurements.find((each) => each.name === name)
if (measurement === undefined) throw new Error(`no measurement is called ${name}`)

/** Objects such as programs hold, of about `megabytes` in all; kept alive by being returned. */
const ballast = (megabytes: number): ReadonlyArray<unknown> => {
  const held: Array<unknown> = []
  const enough = process.memoryUsage().heapUsed + megabytes * 1024 * 1024
  while (process.memoryUsage().heapUsed < enough) {
    for (let i = 0; i < 100_000; i++) held.push({ id: held.length, name: `item ${held.length}`, tags: [i], next: null })
    globalThis.gc?.()
  }
  return held
}

const setUp = async (measurement: Measurement): Promise<Side> => {
  if (measurement.kind === "limit") throw new Error("a limit has no rounds")
  return sideName === "subject" ? measurement.subject(settings) : measurement.baseline(settings)
}

const reply = (message: SideReply): void => void process.send?.(message)
const failed = (error: unknown): SideReply => ({
  type: "failed",
  error: error instanceof Error ? (error.stack ?? error.message) : String(error),
})

const held = ballast(measurement.kind === "comparison" ? (measurement.ballastMb ?? 0) : 0)
let side: Side | undefined
let closing: Promise<void> | undefined
const close = (): Promise<void> => {
  // With the driver gone nobody else would end a side that hangs.
  setTimeout(() => process.exit(1), closeTimeoutMs + 2000).unref()
  return (closing ??= Promise.resolve(side?.close())
    .catch((error: unknown) => console.error(error))
    .then(() => process.exit(held.length < 0 ? 1 : 0)))
}

process.on("disconnect", close)
process.on("message", async (request: SideRequest) => {
  if (request.type === "close") return close()
  try {
    if (measurement.kind === "limit") {
      const { value, ...details } = await measurement.measure(settings)
      reply({ type: "value", value, details })
    } else {
      const before = process.cpuUsage()
      const value = await side!.round(settings.count)
      const { user, system } = process.cpuUsage(before)
      reply({ type: "value", value, details: { cpuMs: (user + system) / 1000 } })
    }
  } catch (error) {
    reply(failed(error))
  }
})

try {
  if (measurement.kind === "comparison") side = await setUp(measurement)
  reply({ type: "ready" })
} catch (error) {
  reply(failed(error))
}
