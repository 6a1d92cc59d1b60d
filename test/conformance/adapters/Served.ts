/** A `creche serve` of a transport's own, with HTTP where it is asked for, and tokens for each identity. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { ServedRuntime } from "../../acceptance/ServedRuntime.ts"
import { changeTokens, makeToken, type NewToken } from "../../../src/transport/Tokens.ts"
import type { Identity } from "../ConformanceClient.ts"

/** More than a suite asks for in a second. */
const perSecond = 100_000

export interface Served {
  readonly runtime: ServedRuntime
  /** Empty without HTTP. */
  readonly url: string
  /** The path of HTTP's own socket, where it was asked for. */
  readonly httpSocket: string
  readonly tokenOf: (identity: Identity) => string | undefined
  readonly close: () => Promise<void>
}

export const served = async (directory: string, { http = false, httpSocket = false } = {}): Promise<Served> => {
  const file = join(directory, "tokens.json")
  const tokens: Partial<Record<Identity, string>> = { stranger: `creche_${"0".repeat(12)}_${"0".repeat(64)}` }
  const give = (identity: Identity, scopes: NewToken["scopes"]) => {
    const { token, record } = makeToken({ name: identity, scopes, perSecond }, Date.now())
    tokens[identity] = token
    changeTokens(file, (all) => [...all, record])
  }
  give("admin", ["admin"])
  give("reader", ["read"])
  const config = join(directory, "creche.yaml")
  writeFileSync(config, "version: 1\ntemplates:\n  fixed:\n    command: cat\n")
  const socket = join(directory, "h")
  const flags = [
    "--config",
    config,
    ...(http ? ["--http", "127.0.0.1:0"] : []),
    ...(httpSocket ? ["--http-socket", socket] : []),
    ...(http || httpSocket ? ["--token-file", file] : []),
  ]
  const runtime = new ServedRuntime(join(directory, "data"), flags, { socket: join(directory, "s") })
  await runtime.listening()
  return {
    runtime,
    url: /http:\/\/[^\s]+/.exec(runtime.stderr)?.[0] ?? "",
    httpSocket: socket,
    tokenOf: (identity) => tokens[identity],
    close: async () => {
      if (runtime.outcome === undefined) runtime.child.kill("SIGTERM")
      await runtime.ended
    },
  }
}
