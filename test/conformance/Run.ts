/** Carries out cases on one transport: a runtime that most of them share, and one of its own for each that ends it. */
import assert from "node:assert/strict"
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Case, Context } from "./Case.ts"
import type { ConformanceClient, Transport, World } from "./ConformanceClient.ts"

export class Run {
  readonly #transport: Transport
  readonly #directory = mkdtempSync(join(tmpdir(), "creche-c-"))
  #shared: Promise<readonly [World, ConformanceClient]> | undefined
  #cases = 0

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** Rejects where the case fails, and where it does not do what it says of itself. */
  async carryOut(one: Case): Promise<void> {
    const directory = join(this.#directory, String(++this.#cases))
    mkdirSync(directory, { recursive: true })
    if (one.alone === true) {
      const [world, client] = await this.#open(directory)
      try {
        await this.#check(one, new Context(world, client, directory))
      } finally {
        await world.close()
      }
      return
    }
    const [world, client] = await (this.#shared ??= this.#open(this.#directory))
    await this.#check(one, new Context(world, client, directory))
  }

  async close(): Promise<void> {
    const shared = await this.#shared?.catch(() => undefined)
    await shared?.[0].close()
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 5 })
  }

  async #open(directory: string): Promise<readonly [World, ConformanceClient]> {
    const world = await this.#transport.open(directory)
    return [world, await world.connect()]
  }

  async #check(one: Case, context: Context): Promise<void> {
    await one.run(context)
    for (const method of one.methods) assert.ok(context.called.has(method), `the case never called ${method}`)
    for (const tag of one.errors ?? []) assert.ok(context.failed.has(tag), `the case never met ${tag}`)
  }
}
