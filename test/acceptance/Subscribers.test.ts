/**
 * Thousands of subscribers at once, over every transport that has subscriptions: none misses an entry or gets one twice, and the
 * runtime's memory is bounded. `CRECHE_SUBSCRIBERS` makes it larger: that many are idle, a tenth of them are not.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Client, connect } from "../../src/client/index.ts"
import { type Follower, type Following, follow, followings, type Where } from "./Followers.ts"
import { drawSeed, eventually, seeded } from "./Processes.ts"
import { freePort, ServedRuntime } from "./ServedRuntime.ts"

const idle = Number(process.env["CRECHE_SUBSCRIBERS"] ?? 2000)
const active = idle / 10
const patienceMs = 120_000

let directory = ""
let runtime: ServedRuntime
let where: Where
let followers: Array<Follower> = []

const up = async (port: number): Promise<void> => {
  runtime = new ServedRuntime(join(directory, "data"), ["--http", `127.0.0.1:${port}`, "--no-auth"], {
    socket: join(directory, "s"),
  })
  await runtime.listening()
  where = { url: `http://127.0.0.1:${port}`, socket: runtime.socket }
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "creche-many-"))
  followers = []
})
afterEach(async () => {
  for (const each of followers) await each.cut()
  await runtime.kill()
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
})

const residentKb = (): number =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${runtime.pid}/status`, "utf8"))![1])

/** Counts what one of them sees, and refuses a gap, a repetition and any other order. */
class Watcher {
  seen = 0
  wrong: string | undefined

  readonly onEntry = (seq: number): void => {
    if (seq !== this.seen + 1) this.wrong ??= `${seq} after ${this.seen}`
    this.seen = seq
  }
}

const isMissing = process.platform !== "linux" ? "resident memory is read from /proc" : undefined

describe.skipIf(isMissing !== undefined)(
  `many subscribers${isMissing === undefined ? "" : ` (skipped: ${isMissing})`}`,
  () => {
    it(`${idle} that wait and ${active} that are told all there is, some of them slow, in bounded memory`, async () => {
      await up(await freePort())
      const client: Client = await connect({ socket: where.socket })
      const template = "demo"
      await client.start({ name: "quiet", command: "cat", protocol: "lines" })
      // Each turn is some 200 KB of entries, so that no buffer of the kernel holds what a slow one has not read.
      await client.start({ name: "loud", command: "cat", protocol: "lines" })
      const talkers = ["a", "b", "c", "d"]
      for (const name of talkers) await client.start({ name, template })
      const before = residentKb()

      const join = async (
        count: number,
        of: (index: number) => readonly [Following, string, (seq: number) => void],
      ) => {
        const joined: Array<Follower> = []
        // A few at a time, as they would come.
        for (let at = 0; at < count; at += 50) {
          const some = Array.from({ length: Math.min(50, count - at) }, (_, index) => of(at + index))
          joined.push(
            ...(await Promise.all(
              some.map(([how, session, onEntry]) => follow(how, where, { session, after: 0, onEntry })),
            )),
          )
        }
        followers.push(...joined)
        return joined
      }
      const first = (await client.request("session/get", { session: "quiet" })).seq
      let quietSeen = 0
      await join(idle, (at) => [followings[at % 3]!, "quiet", () => quietSeen++])
      await eventually("all that wait have what is there", () => quietSeen === idle * first, patienceMs)
      const waiting = residentKb()

      const watchers = Array.from({ length: active }, () => new Watcher())
      const sessions = watchers.map((_, at) => (at % 10 === 0 ? "loud" : talkers[at % talkers.length]!))
      const joined = await join(active, (at) => [followings[at % 3]!, sessions[at]!, watchers[at]!.onEntry])
      const slow = joined.filter((_, at) => sessions[at] === "loud" && at % 20 === 0)
      for (const each of slow) each.pause()

      let peak = residentKb()
      const watch = setInterval(() => (peak = Math.max(peak, residentKb())), 50)
      const asking = talkers.map((name) => client.ask({ session: name, prompt: "/stream 300 word" }))
      for (let turn = 0; turn < 60; turn++) await client.ask({ session: "loud", prompt: "x".repeat(65_536) })
      await Promise.all(asking)
      const seqOf = new Map<string, number>()
      for (const name of [...talkers, "loud"])
        seqOf.set(name, (await client.request("session/get", { session: name })).seq)
      const isThrough = (at: number) => watchers[at]!.seen === seqOf.get(sessions[at]!)
      const fast = watchers.flatMap((_, at) => (slow.includes(joined[at]!) ? [] : [at]))
      await eventually("all that read have everything", () => fast.every(isThrough), patienceMs)
      const behind = watchers.filter((_, at) => slow.includes(joined[at]!) && !isThrough(at))
      expect(behind).toHaveLength(slow.length)
      for (const each of slow) each.resume()
      await eventually("the slow ones have everything", () => watchers.every((_, at) => isThrough(at)), patienceMs)
      clearInterval(watch)

      expect(watchers.flatMap(({ wrong }) => (wrong === undefined ? [] : [wrong]))).toEqual([])
      expect(quietSeen).toBe(idle * first)
      const each = (waiting - before) / idle
      console.log(
        `subscribers: ${idle} idle, ${active} active, ${slow.length} of them slow; runtime ${before >> 10} MB, with the idle ${waiting >> 10} MB (${each.toFixed(1)} KB each), at most ${peak >> 10} MB`,
      )
      expect(each).toBeLessThan(80)
      // The slow ones alone left some 15 MB each unread.
      expect(peak - waiting).toBeLessThan(256 * 1024)
      // Whoever serves thousands still answers.
      expect((await client.ask({ session: "quiet", prompt: "still there" })).text).toBe("still there")
      await client.close()
    }, 400_000)
  },
)

describe("a subscriber that is cut off again and again", () => {
  it.each(followings)(
    "sees every entry once over %s, also when the runtime is killed meanwhile",
    async (how) => {
      const random = seeded(drawSeed(`cut off ${how}`))
      const port = await freePort()
      await up(port)
      const client = await connect({ socket: where.socket, reconnect: { initialMs: 5, maxMs: 50 } })
      await client.start({
        name: "a",
        template: "demo",
        retryTurns: 1,
        backoff: { initialMs: 5 },
        intensity: { maxRestarts: 1000, withinMs: 60_000 },
      })
      let live = true
      const asking = (async () => {
        for (let turn = 0; live; turn++)
          await client.ask({ session: "a", prompt: `/stream ${5 + Math.floor(random() * 30)} w${turn}` })
      })()

      const watcher = new Watcher()
      let cuts = 0
      let kills = 0
      while (cuts < 25) {
        const until = watcher.seen + Math.floor(random() * 60)
        const follower = await follow(how, where, {
          session: "a",
          after: watcher.seen,
          onEntry: watcher.onEntry,
        }).catch(() => undefined)
        if (follower === undefined) continue
        if (random() < 0.1 && kills < 4) {
          kills++
          await runtime.kill()
          await up(port)
        } else await eventually("some more", () => watcher.seen >= until, patienceMs)
        await follower.cut()
        cuts++
      }
      live = false
      await asking
      const { seq } = await client.request("session/get", { session: "a" })
      followers.push(await follow(how, where, { session: "a", after: watcher.seen, onEntry: watcher.onEntry }))
      await eventually("the rest", () => watcher.seen === seq, patienceMs)
      expect(watcher.wrong).toBeUndefined()
      expect(seq).toBeGreaterThan(100)
      await client.close()
    },
    200_000,
  )
})
