/**
 * One case of the suite, and what it is given: a client that checks every failure against the table of errors, and short
 * forms for what most cases do. Knows no transport.
 */
import assert from "node:assert/strict"
import { resultMisfits } from "../support/WireCheck.ts"
import { errorCodes, type ErrorTag } from "../../src/transport/ErrorCodes.ts"
import {
  type Ability,
  type Answer,
  type ConformanceClient,
  eventually,
  type Failure,
  type Followed,
  isFailure,
  type RequestOptions,
  type Streamed,
  type World,
} from "./ConformanceClient.ts"

export interface Case {
  /** A sentence of behaviour, and the row of the table. */
  readonly name: string
  /** What it calls; a transport that has not one of them is excused. */
  readonly methods: ReadonlyArray<string>
  /** The tags that it provokes. */
  readonly errors?: ReadonlyArray<ErrorTag>
  /** What else the transport must be able to do. */
  readonly needs?: ReadonlyArray<Ability>
  /** It ends its runtime, or its client: it gets a runtime of its own. */
  readonly alone?: true
  readonly run: (context: Context) => Promise<void>
}

/** The fields that identify what an error is about, as the table has them. */
const identityOf = (tag: ErrorTag): ReadonlyArray<string> => {
  const anything: any = new Proxy({}, { get: (_, field) => (field === "exit" ? null : "x") })
  return Object.keys(errorCodes[tag].identity(anything as never))
}

const isTag = (tag: string): tag is ErrorTag => Object.hasOwn(errorCodes, tag)

/** Whether a failure is as the table says, on whatever transport it came. */
export const assertInTable = (method: string, { tag, code, data, message, status }: Failure): void => {
  if (!isTag(tag)) return
  const { code: wanted, http } = errorCodes[tag]
  assert.equal(code, wanted, `${method}: the code of ${tag}`)
  assert.deepEqual(Object.keys(data).toSorted(), ["tag", ...identityOf(tag)].toSorted(), `${method}: ${tag}`)
  assert.ok(message.length > 0, `${method}: ${tag} says nothing`)
  if (status !== undefined) assert.equal(status, http, `${method}: the status of ${tag}`)
}

/** `of`: another client than the case's own. */
type Given = RequestOptions & { readonly of?: ConformanceClient }

let names = 0

export class Context {
  readonly world: World
  readonly client: ConformanceClient
  /** A directory of this case's own. */
  readonly directory: string
  /** Methods that were called, and tags that came. */
  readonly called = new Set<string>()
  readonly failed = new Set<string>()

  constructor(world: World, client: ConformanceClient, directory: string) {
    this.world = world
    this.client = client
    this.directory = directory
  }

  /** A name that no other case has. */
  name(prefix = "s"): string {
    return `${prefix}-${process.pid}-${++names}`
  }

  /** Whatever comes. */
  try(method: string, params?: object, options: Given = {}): Promise<Answer> {
    const { of = this.client, ...given } = options
    this.called.add(method)
    return of.request(method, params, given)
  }

  /** The result; a failure fails the case. */
  async ok(method: string, params?: object, options?: Given): Promise<any> {
    const answer = await this.try(method, params, options)
    if (!answer.ok) assert.fail(`${method} failed with ${JSON.stringify(answer.failure)}`)
    assert.deepEqual(resultMisfits(method, answer.result), [], `the result of ${method}`)
    return answer.result
  }

  /** The failure, which has to have the tag, and be as the table says. */
  async fails(method: string, params: object | undefined, tag: string, options?: Given): Promise<Failure> {
    const answer = await this.try(method, params, options)
    if (answer.ok) assert.fail(`${method} should have failed with ${tag}, and gave ${JSON.stringify(answer.result)}`)
    return this.#failure(method, answer.failure, tag)
  }

  #failure(method: string, failure: Failure, tag: string): Failure {
    assert.equal(failure.tag, tag, `${method}: ${failure.message}`)
    this.failed.add(tag)
    assertInTable(method, failure)
    return failure
  }

  /** Names the fields that are wrong. */
  async refuses(method: string, params: object, ...paths: ReadonlyArray<string>): Promise<void> {
    const { data } = await this.fails(method, params, "InvalidParams")
    const named = (data["issues"] as ReadonlyArray<{ readonly path: string; readonly message: string }>).map(
      ({ path, message }) => {
        assert.ok(message.length > 0)
        return path
      },
    )
    assert.deepEqual(named.toSorted(), [...paths].toSorted(), `${method} ${JSON.stringify(params)}`)
  }

  stream(params: object, of: ConformanceClient = this.client, options?: RequestOptions): Streamed {
    this.called.add("session/ask")
    return of.stream(params, options)
  }

  async follow(params: object, of: ConformanceClient = this.client): Promise<Followed> {
    this.called.add("session/subscribe")
    const followed = await of.subscribe(params)
    if (isFailure(followed)) assert.fail(`session/subscribe failed with ${JSON.stringify(followed)}`)
    return followed
  }

  async followFails(params: object, tag: string): Promise<Failure> {
    this.called.add("session/subscribe")
    const followed = await this.client.subscribe(params)
    if (!isFailure(followed)) assert.fail(`session/subscribe should have failed with ${tag}`)
    return this.#failure("session/subscribe", followed, tag)
  }

  /** A session over `cat`, which answers each line with itself. */
  async echo(spec: object = {}): Promise<any> {
    return this.ok("session/start", { name: this.name("echo"), command: "cat", protocol: "lines", ...spec })
  }

  /** A session that takes prompts and never answers. */
  async mute(spec: object = {}): Promise<any> {
    const args = ["-c", "while read -r line; do :; done"]
    return this.ok("session/start", { name: this.name("mute"), command: "sh", args, protocol: "lines", ...spec })
  }

  /** A session that fails for good with its first prompt. */
  async dying(): Promise<any> {
    const started = await this.ok("session/start", {
      name: this.name("dying"),
      command: "sh",
      args: ["-c", "read -r line; exit 1"],
      protocol: "lines",
      restart: "permanent",
      backoff: { initialMs: 1 },
      intensity: { maxRestarts: 0, withinMs: 60_000 },
    })
    const { name: session } = started
    const { status } = await this.ok("session/ask", { session, prompt: "x" })
    assert.equal(status, "failed")
    await eventually("it has failed", async () => (await this.ok("session/get", { session })).status === "failed")
    return started
  }

  /** A session with the demo agent. */
  async demo(spec: object = {}): Promise<any> {
    return this.ok("session/start", { name: this.name("demo"), template: "demo", ...spec })
  }
}
