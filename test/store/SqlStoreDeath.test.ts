import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import { afterAll, describe, expect, it } from "vitest"
import type { TurnId } from "../../src/domain/Ids.ts"
import { isTerminal } from "../../src/domain/Turn.ts"
import { DatabaseSync } from "../../src/store/Sqlite.ts"
import * as SqlSessionStore from "../../src/store/SqlSessionStore.ts"
import { allOf } from "./StoreWriter.ts"

const directory = mkdtempSync(join(tmpdir(), "creche-store-"))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const fixture = fileURLToPath(new URL("../fixtures/storeWriter.ts", import.meta.url))

/** Runs the writer and kills it once it has said so many lines, and a little later; answers what it said. */
const round = (
  file: string,
  number: number,
  seed: number,
  lines: number,
  delayUs: number,
): Promise<ReadonlyArray<string>> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [fixture, file, String(number), String(seed)], {
      stdio: ["ignore", "pipe", "pipe"],
    })
    let said = ""
    let complaint = ""
    let count = 0
    let killed = false
    child.stderr.on("data", (chunk) => (complaint += String(chunk)))
    child.stdout.on("data", (chunk: Buffer) => {
      const text = String(chunk)
      said += text
      count += text.split("\n").length - 1
      if (killed || count < lines) return
      killed = true
      const until = performance.now() + delayUs / 1000
      while (performance.now() < until);
      child.kill("SIGKILL")
    })
    child.on("close", () =>
      killed ? resolve(said.split("\n").slice(0, -1)) : reject(new Error(`the writer ended by itself: ${complaint}`)),
    )
  })

/** All that was written is read again after each round. */
const roundsOfOneFile = 10

const expectSound = (file: string) => {
  const database = new DatabaseSync(file)
  expect(database.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" })
  database.close()
}

describe("a store whose process is killed with SIGKILL", () => {
  const rounds = Number(process.env["CRECHE_DEATHS"] ?? 20)

  it(`has everything that was acknowledged, without gaps, each turn ended once, ${rounds} times over`, async () => {
    const seed = Number(process.env["CRECHE_SEED"] ?? Math.floor(Math.random() * 2 ** 31))
    console.log(`seed ${seed}`)
    let state = seed
    const random = (below: number) => (state = (Math.imul(state, 48_271) >>> 0) % 2_147_483_647) % below
    let file = ""
    let endings = 0
    const accepted = new Set<string>()
    const ended = new Set<string>()
    const seqs = new Map<string, number>()
    for (let i = 0; i < rounds; i++) {
      if (i % roundsOfOneFile === 0) {
        if (file !== "") expectSound(file)
        file = join(directory, `${i}.db`)
        endings += ended.size
        for (const known of [accepted, ended, seqs]) known.clear()
      }
      for (const line of await round(file, i, random(1e9), 1 + random(600), random(3_000))) {
        const [kind, id, seq] = line.split(" ") as [string, string, string]
        if (kind === "a") accepted.add(id)
        else if (kind === "e") ended.add(id)
        else seqs.set(id, Number(seq))
      }
      await Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const store = yield* SqlSessionStore.make({ file })
            const open = new Set(
              (yield* store.recoverable).flatMap(({ openTurns }) => openTurns.map(({ id }) => id as string)),
            )
            for (const id of accepted) expect((yield* store.turn(id as TurnId))?.id, `seed ${seed}`).toBe(id)
            for (const id of ended) expect(isTerminal((yield* store.turn(id as TurnId))!), `seed ${seed}`).toBe(true)
            const ends = new Map<string, number>()
            for (const session of yield* allOf(store)) {
              const { entries, trimmed } = yield* store.transcript(session.id, { all: true, limit: 1e9 })
              expect(trimmed).toBe(0)
              expect(
                entries.every(({ seq }, at) => seq === at + 1),
                `seed ${seed}`,
              ).toBe(true)
              // The record and the entries are of one commit.
              expect(entries.length).toBe(session.seq)
              expect(entries.length).toBeGreaterThanOrEqual(seqs.get(session.id) ?? 0)
              for (const entry of entries) {
                if (entry.type === "turn/queued") ends.set(entry.turn!, 0)
                if (entry.type === "turn/ended") ends.set(entry.turn!, ends.get(entry.turn!)! + 1)
              }
            }
            for (const [id, count] of ends) expect(count, `seed ${seed}, ${id}`).toBe(open.has(id) ? 0 : 1)
          }),
        ),
      )
    }
    expectSound(file)
    expect(endings + ended.size).toBeGreaterThan(rounds)
  }, 600_000)
})
