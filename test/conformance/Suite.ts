/** The suite: every case, every transport, and which does not go with which, and why. Data alone; `Run` carries it out. */
import { errorCodes, type ErrorTag } from "../../src/transport/ErrorCodes.ts"
import { contract, notOffered } from "../../src/transport/Contract.ts"
import { http1, httpSocket } from "./adapters/Http.ts"
import { inProcess } from "./adapters/InProcess.ts"
import { mcpStdio } from "./adapters/Mcp.ts"
import { mcpHttp } from "./adapters/McpHttp.ts"
import { stdio } from "./adapters/Stdio.ts"
import { unixSocket } from "./adapters/UnixSocket.ts"
import { webSocket } from "./adapters/WebSocket.ts"
import type { Case } from "./Case.ts"
import { askingCases } from "./cases/asking.ts"
import { clientCases } from "./cases/clients.ts"
import { controlCases } from "./cases/control.ts"
import { recordCases } from "./cases/records.ts"
import { runtimeCases } from "./cases/runtime.ts"
import { startingCases } from "./cases/starting.ts"
import { subscriptionCases } from "./cases/subscriptions.ts"
import { supervisorCases } from "./cases/supervisors.ts"
import type { Transport } from "./ConformanceClient.ts"

export const cases: ReadonlyArray<Case> = [
  ...startingCases,
  ...askingCases,
  ...controlCases,
  ...recordCases,
  ...subscriptionCases,
  ...clientCases,
  ...supervisorCases,
  ...runtimeCases,
]

export const transports: ReadonlyArray<Transport> = [
  inProcess,
  stdio,
  unixSocket,
  http1,
  httpSocket,
  webSocket,
  mcpStdio,
  mcpHttp,
]

/** Tags that no client can bring about by what it asks for. */
export const notProvoked: Partial<Record<ErrorTag, string>> = {
  StoreUnavailable: "it takes a disk that fails: `test/acceptance/StoreTrouble.test.ts`",
}

/** What of the case this transport has not; undefined: nothing. */
export const lackOf = ({ methods, needs = [] }: Case, { lacks }: Transport): string | undefined =>
  [...needs, ...methods].find((each) => Object.hasOwn(lacks, each))

/** What the suite as a whole leaves out, and what it names in vain; empty when all is well. */
export const gaps = (): ReadonlyArray<string> => {
  const found: Array<string> = []
  const names = cases.map(({ name }) => name)
  for (const [at, name] of names.entries()) if (names.indexOf(name) !== at) found.push(`two cases are called: ${name}`)
  const methods = [...Object.keys(contract), ...notOffered]
  const covered = new Set(cases.flatMap((each) => each.methods))
  for (const method of methods) if (!covered.has(method)) found.push(`no case calls ${method}`)
  for (const method of covered) if (!methods.includes(method)) found.push(`there is no method ${method}`)
  const provoked = new Set<string>(cases.flatMap(({ errors = [] }) => errors))
  for (const tag of Object.keys(errorCodes)) {
    const excused = Object.hasOwn(notProvoked, tag)
    if (!provoked.has(tag) && !excused) found.push(`no case provokes ${tag}`)
    if (provoked.has(tag) && excused) found.push(`${tag} is provoked, and said not to be`)
  }
  for (const transport of transports) {
    const used = new Set(cases.flatMap(({ methods, needs = [] }) => [...needs, ...methods]))
    for (const lack of Object.keys(transport.lacks))
      if (!used.has(lack)) found.push(`${transport.name} is said to lack ${lack}, which no case needs`)
  }
  return found
}
