/**
 * Judges restarts by what a reader of the transcript and a watcher of processes can see: their type, their schedule, the
 * limit on them, the bucket that all share, and that nothing starts which nobody wants. It counts for itself and asks no
 * policy of the runtime.
 */
import type { SessionId } from "../../src/domain/Ids.ts"
import type { Commit } from "../../src/domain/SessionStore.ts"
import type { TranscriptEntry } from "../../src/domain/Transcript.ts"
import type { Clients } from "./Clients.ts"
import type { Records, SessionRecord } from "./Records.ts"
import type { SimulatedSpawner } from "./SimulatedSpawner.ts"
import type { World } from "./World.ts"

interface Course {
  stoppedAt: number
  seq: number
  /** The status by the entries that are on their way. */
  status: string
  /** When it got ready (by the entries' time); null: not in this incarnation. */
  readyAt: number | null
  pid: number
  /** The step in which its end was told. */
  exit: Commit | undefined
  /** Ready time of the process that ended last. */
  readyMs: number
  /** A note within this incarnation may tell of a breach of the protocol: its end counts as a crash. */
  noted: boolean
  wasReady: boolean
  /** Attempts since the schedule began; undefined: a client may have begun it anew. */
  attempt: number | undefined
  /** Times of restarts since the last start that may have been a client's. */
  restarts: Array<number>
  /** Of all. */
  total: number
}

/** The token bucket again, from two sides: with the fewest and with the most tokens that may have been taken. */
interface Bucket {
  least: number
  most: number
  at: number
  /** Until then nobody knows when the sessions that were found took theirs: the fewest do not grow. */
  isUp: boolean
}

const slackMs = 1

/** A client may have begun it anew. */
const anew = (course: Course): void => {
  course.attempt = undefined
  course.restarts = []
}

export class Restarts {
  readonly #world: World
  readonly #spawner: SimulatedSpawner
  readonly #clients: Clients
  readonly #courses = new Map<SessionId, Course>()
  /** Of supervisors, by path. */
  readonly #charges = new Map<string, Array<number>>()
  readonly #givenUp = new Set<string>()
  #bucket: Bucket = { least: 0, most: 0, at: 0, isUp: false }

  constructor(world: World, records: Records, spawner: SimulatedSpawner, clients: Clients) {
    this.#world = world
    this.#spawner = spawner
    this.#clients = clients
    records.onSubmitted.push((record, entry, commit) => this.#entry(record, entry, commit))
  }

  /** A runtime begins with a full bucket; each session that it finds may take a token at once. */
  runtimeBegins(sessions: ReadonlyMap<SessionId, SessionRecord>): void {
    const found = sessions.size
    this.#charges.clear()
    const { burst } = this.#world.plan.world.restarts
    this.#bucket = { least: burst - found, most: burst, at: this.#world.now, isUp: false }
    for (const [id, course] of this.#courses) {
      const record = sessions.get(id)!
      course.readyAt = null
      course.status = record.status
      // What was on its way when the runtime ended may never have come.
      if (course.seq > record.entries.length) anew(course)
      course.seq = record.entries.length
    }
    this.#forgetTimes()
  }

  /** By the wall clock alone nobody can tell how long the runtime was away; it may also be set while that is found out. */
  #forgetTimes(): void {
    if (this.#world.wallWasSet) this.#courses.forEach(anew)
  }

  /** Of a runtime that is up its steady clock tells how much; one that is away or coming up has only the wall clock. */
  wallClockIsSet(): void {
    if (!this.#bucket.isUp) this.#courses.forEach(anew)
  }

  runtimeIsUp(): void {
    this.#forgetTimes()
    this.#bucket = { ...this.#filled(), isUp: true }
  }

  #courseOf(record: SessionRecord): Course {
    let course = this.#courses.get(record.id)
    if (course === undefined) {
      course = {
        seq: 0,
        stoppedAt: 0,
        status: "stopped",
        readyAt: null,
        pid: 0,
        exit: undefined,
        readyMs: 0,
        noted: false,
        wasReady: false,
        attempt: 0,
        restarts: [],
        total: 0,
      }
      this.#courses.set(record.id, course)
    }
    return course
  }

  #entry(record: SessionRecord, entry: TranscriptEntry, commit: Commit): void {
    const course = this.#courseOf(record)
    course.seq = entry.seq
    switch (entry.type) {
      case "status":
        this.#status(record, course, entry.status, entry.at, entry.detail ?? "")
        break
      case "process/spawned":
        course.pid = entry.pid
        // Of a start in place of another there is no other word.
        if (this.#clients.isWoken(record.name)) anew(course)
        course.noted = false
        course.readyAt = null
        break
      case "process/exited":
        course.exit = commit
        // A start that was wished for may have been on its way when its runtime died.
        if (this.#clients.isWoken(record.name)) anew(course)
        course.readyMs = course.readyAt === null ? 0 : entry.at - course.readyAt
        course.wasReady = course.readyAt !== null
        course.readyAt = null
        break
      case "note":
        course.noted = true
        break
      case "restart/scheduled":
        // What failed was a start: no process has ended in this step, and none was ready.
        if (course.exit !== commit) {
          course.readyMs = 0
          course.wasReady = false
        }
        this.#restart(record, course, entry.delayMs, entry.attempt)
        break
      default:
    }
  }

  #status(record: SessionRecord, course: Course, status: string, at: number, detail: string): void {
    const { name, spec } = record
    const before = course.status
    course.status = status
    if (status === "ready") course.readyAt ??= at
    if ((status === "backoff" || status === "suspended") && (before === "stopped" || before === "failed")) {
      this.#risen(record, course, before)
    }
    if (status === "stopped") course.stoppedAt = this.#world.now
    // Somebody wanted it to start, and there was no room.
    if (status === "suspended" && this.#clients.isWoken(name)) anew(course)
    if (status === "starting") {
      const woken = this.#clients.isWoken(name)
      if (!woken && this.#isOfThePlan(name) && (before === "stopped" || before === "failed")) {
        this.#world.broke("no-start-unasked", `${name} was ${before} and starts, and nobody wants it to`)
      }
      if (woken) anew(course)
    }
    // Whoever gives up with it, or for it: from here on nothing is charged there.
    if (status === "failed" && spec.supervisor !== "root") this.#fallen(spec.supervisor)
    if (
      status === "failed" &&
      detail.includes("was restarted more than") &&
      course.total < spec.intensity.maxRestarts
    ) {
      this.#world.broke(
        "restart-intensity",
        `${name} gave up after ${course.total} restarts; ${spec.intensity.maxRestarts} are allowed`,
      )
    }
  }

  /** It comes back with its supervisor: with one that is started anew, or as one that had finished by itself. */
  #risen(record: SessionRecord, course: Course, before: string): void {
    anew(course)
    const { name, spec } = record
    const left = this.#spawner.made.get(course.pid)?.left
    const finished = spec.restart === "transient" && left?.by === "exit" && left.code === 0
    const mayRise = before === "stopped" && finished && !this.#clients.wasStopped(record.id, course.stoppedAt)
    if (!mayRise && !this.#clients.isRevived(spec.supervisor)) {
      this.#world.broke("no-start-unasked", `${name} was ${before} and comes back, and nobody wants it to`)
    }
  }

  #fallen(supervisor: string): void {
    // The restart that was one too many may have had its token.
    const bucket = this.#filled()
    this.#bucket = { ...bucket, least: bucket.least - 1 }
    for (const { path } of this.#world.plan.supervisors) {
      if (supervisor === path || supervisor.startsWith(`${path}/`)) this.#givenUp.add(path)
    }
  }

  #isOfThePlan(name: string): boolean {
    return this.#world.plan.sessions.some(({ spec }) => spec.name === name)
  }

  #restart(record: SessionRecord, course: Course, delayMs: number, attempt: number): void {
    const world = this.#world
    const { name, spec } = record
    const child = this.#spawner.made.get(course.pid)
    if (spec.restart === "temporary") world.broke("restart-type", `${name} is temporary and restarted`)
    const leftWell = child?.left?.by === "exit" && child.left.code === 0
    if (spec.restart === "transient" && leftWell && course.wasReady && !course.noted) {
      world.broke("restart-type", `${name} is transient, ended with exit code 0, and is restarted`)
    }
    const { initialMs, factor, maxMs, jitter, resetAfterMs } = spec.backoff
    const wasStable = course.readyMs > 0 && course.readyMs >= resetAfterMs
    const wanted = course.attempt === undefined ? attempt : wasStable ? 1 : course.attempt + 1
    if (attempt !== wanted && !world.wallWasSet) {
      world.broke("restart-schedule", `${name}: attempt ${attempt}, expected ${wanted}`)
    }
    course.attempt = attempt
    const full = wasStable ? 0 : Math.min(maxMs, initialMs * factor ** (attempt - 1))
    const queue = this.#take()
    const least = Math.max(Math.floor(full * (1 - jitter)), queue.leastMs) - slackMs
    const most = Math.max(full, queue.mostMs) + slackMs
    if (!world.wallWasSet && (delayMs < least || delayMs > most)) {
      const rule = delayMs < queue.leastMs - slackMs ? "restart-bucket" : "restart-schedule"
      world.broke(rule, `${name} waits ${delayMs} ms before attempt ${attempt}; expected ${least} to ${most}`)
    }
    this.#chargeSupervisor(spec.supervisor)
    const { maxRestarts, withinMs } = spec.intensity
    const { now } = world
    course.total++
    course.restarts = [...course.restarts.filter((at) => now - at < withinMs), now]
    if (course.restarts.length > maxRestarts) {
      world.broke(
        "restart-intensity",
        `${name} is restarted ${course.restarts.length} times within ${withinMs} ms; ${maxRestarts} are allowed`,
      )
    }
  }

  /**
   * Of a supervisor of `root`, whose window nobody but a client empties. What ends while it is given up, or is being ended, is
   * charged to nobody.
   */
  #chargeSupervisor(path: string): void {
    const world = this.#world
    const plan = world.plan.supervisors.find((each) => each.path === path)
    if (plan?.intensity == null || path.split("/").length > 2) return
    if (this.#clients.hasStopped(path) || this.#givenUp.has(path)) return
    const { maxRestarts, withinMs } = plan.intensity
    const { now } = world
    const charges = (this.#charges.get(path) ?? []).filter((at) => now - at < withinMs)
    charges.push(now)
    this.#charges.set(path, charges)
    if (charges.length > maxRestarts) {
      const what = `${charges.length} restarts within ${withinMs} ms; ${maxRestarts} are allowed`
      world.broke("supervisor-limit", `${path} has seen ${what}`)
    }
  }

  /** The bucket as it is by now. */
  #filled(): Bucket {
    const { burst, perSecond } = this.#world.plan.world.restarts
    const { now } = this.#world
    const { least, most, at, isUp } = this.#bucket
    const gained = ((now - at) * perSecond) / 1000
    return {
      least: isUp ? Math.min(burst, least + gained) : least,
      most: Math.min(burst, most + gained),
      at: now,
      isUp,
    }
  }

  #take(): { readonly leastMs: number; readonly mostMs: number } {
    const { perSecond } = this.#world.plan.world.restarts
    const bucket = this.#filled()
    const next = (this.#bucket = { ...bucket, least: bucket.least - 1, most: bucket.most - 1 })
    const waitOf = (tokens: number) => (tokens >= 0 ? 0 : Math.ceil((-tokens * 1000) / perSecond))
    return { leastMs: waitOf(next.most), mostMs: waitOf(next.least) }
  }
}
