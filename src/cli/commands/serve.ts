/** `creche serve`: the runtime in the foreground, until a signal or `runtime/shutdown` ends it. */
import * as Effect from "effect/Effect"
import { join, resolve } from "node:path"
import type { Configuration } from "../../config/Configuration.ts"
import { otlpSettings, OtlpWrong } from "../../config/OtlpConfig.ts"
import type { ServeHttp } from "../../config/ServeOptions.ts"
import { serve } from "../../main.ts"
import type { Invocation } from "../Commands.ts"
import { CommandFailure, wrongUsage } from "../Failure.ts"
import { resolvePaths } from "../../client/Paths.ts"
import type { Io } from "../Io.ts"
import { logOf } from "../LogFlags.ts"
import type { Run } from "../Run.ts"
import { visible } from "../Text.ts"

export const run: Run<"serve"> = async (call, io) => {
  const { demo, config, memory } = call.flags
  const configuration = config === undefined ? undefined : await configurationOf(config, io.cwd)
  const { dataDirectory, socket } = resolvePaths(call.shared, withPaths(io.env, configuration), io.cwd)
  const http = await httpOf(call, dataDirectory, io.cwd)
  const log = logOf(call.flags)
  const otlp = otlpSettings(call.flags.otlp, configuration?.runtime.otlp, io.env)
  if (otlp instanceof OtlpWrong) throw wrongUsage(otlp.message)
  // Who wants lines of one kind gets no other.
  const inLog = (log.format ?? configuration?.runtime.log?.format) !== undefined
  await Effect.runPromise(
    serve({
      dataDirectory,
      socket,
      demo,
      ...(memory ? { store: "memory" as const } : {}),
      ...(configuration === undefined ? {} : { configuration }),
      ...(http === undefined ? {} : { http }),
      log,
      ...(call.flags.drain === undefined ? {} : { drainMs: call.flags.drain }),
      ...(otlp === undefined ? {} : { otlp }),
      ...(inLog
        ? {}
        : {
            onListening: (info) => {
              io.stderr(
                call.shared.json
                  ? `${JSON.stringify({ listening: info.socket, ...httpIn(info.http), containment: info.containment, detail: info.detail })}\n`
                  : `creche listens on ${info.socket}\n${info.http.map((url) => `and on ${url}\n`).join("")}containment: ${info.containment} (${info.detail})\n${hints(demo)}`,
              )
            },
          }),
    }),
  )
  return 0
}

/** `http`: the address on TCP; `httpSocket`: the path of the unix socket; null where there is none. */
const httpIn = (urls: ReadonlyArray<string>) => ({
  http: urls.find((url) => url.startsWith("http")) ?? null,
  httpSocket: urls.find((url) => url.startsWith("unix:"))?.slice("unix:".length) ?? null,
})

const httpOf = async (
  call: Invocation<"serve">,
  data: string,
  cwd: string,
): Promise<ReadonlyArray<ServeHttp> | undefined> => {
  const { http, "http-socket": path, "token-file": given, "no-auth": open, "http-name": names } = call.flags
  const odd = names.find((name) => !/^[A-Za-z0-9._-]+$/.test(name))
  if (odd !== undefined) {
    throw wrongUsage(`--http-name wants a name alone, as creche.example.org; ${JSON.stringify(odd)} is none`)
  }
  const file = given === undefined ? undefined : resolve(cwd, given)
  if (http === undefined) {
    if (open) throw wrongUsage("--no-auth goes with --http")
    if (path === undefined && (names.length > 0 || file !== undefined))
      throw wrongUsage("--token-file and --http-name go with --http or --http-socket")
  }
  if (open && file !== undefined) throw wrongUsage("--no-auth and --token-file exclude each other")
  const listeners: Array<ServeHttp> = []
  if (http !== undefined) {
    const { parseAddress } = await import("../../transport/HttpAddress.ts")
    const address = parseAddress(http)
    if (address === undefined) throw wrongUsage("--http wants HOST:PORT, as 127.0.0.1:8420 or [::1]:8420")
    const tokens = open ? null : { file: file ?? join(data, "tokens.json"), required: file !== undefined }
    listeners.push({ address, tokens, names })
  }
  if (path !== undefined) {
    // The file's mode says who may connect; a token is asked for besides where its file is named.
    const tokens = file === undefined ? null : { file, required: true }
    listeners.push({ address: { path: resolve(cwd, path) }, tokens, names })
  }
  return listeners.length === 0 ? undefined : listeners
}

/** Only who has a file pays for reading YAML. */
const configurationOf = async (file: string, cwd: string): Promise<Configuration> => {
  const { ConfigurationWrong, readConfiguration } = await import("../../config/Configuration.ts")
  const read = readConfiguration(file, cwd)
  if (!(read instanceof Error)) return read
  if (!(read instanceof ConfigurationWrong)) throw new CommandFailure(read.message, { tag: read._tag, file })
  const { _tag: tag, message, problems } = read
  throw new CommandFailure(`the configuration is wrong:\n${visible(message)}`, { tag, file, problems })
}

/** The file says where a variable does not: whoever sets a variable sets it for the clients too. */
const withPaths = (env: Io["env"], configuration: Configuration | undefined): Io["env"] => ({
  ...env,
  CRECHE_DATA: env["CRECHE_DATA"] || configuration?.runtime.dataDirectory,
  CRECHE_SOCKET: env["CRECHE_SOCKET"] || configuration?.runtime.socket,
})

/** In the words of how it was started. */
const hints = (demo: boolean): string => {
  const creche = process.env["npm_lifecycle_event"] === undefined ? "creche" : "npm run -s creche --"
  const lines = demo
    ? [
        `${creche} ask demo hello`,
        `${creche} ask demo /help`,
        `${creche} ask --stream demo /stream 5 again`,
        `${creche} ps`,
        `${creche} logs -f demo`,
      ]
    : [`${creche} start echo -- cat`, `${creche} ask echo hello`, `${creche} ps`]
  return `try, in another terminal:\n${lines.map((line) => `  ${line}\n`).join("")}Ctrl-C stops everything.\n`
}
