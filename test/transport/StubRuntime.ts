/**
 * A Runtime without processes, for the transport's tests: sessions answer by themselves. A prompt `hang` never
 * ends, `die` is a defect, `slow MS` takes its time, `stream N` makes N deltas first; any other is echoed.
 * Transcripts are kept, or made on the fly where a session is called `flood` (`total` entries; those that its ring of
 * `ring` entries has dropped are still archived, but for the first `gone`).
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import {
  SessionAlreadyExists,
  SessionNotFound,
  SupervisorNotFound,
  TurnNotFound,
  Unsupported,
} from "../../src/domain/Errors.ts"
import { makeIds, type SessionId } from "../../src/domain/Ids.ts"
import { promptText } from "../../src/domain/PromptText.ts"
import { type Session, sessionStatuses } from "../../src/domain/Session.ts"
import { resolveSpec, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import { makeMemory } from "../../src/domain/TemplateStore.ts"
import type { TranscriptBody, TranscriptEntry } from "../../src/domain/Transcript.ts"
import { isTerminal, terminalTurnStatuses, type Turn, type TurnStatus } from "../../src/domain/Turn.ts"
import { makeTemplates } from "../../src/supervisor/Templates.ts"
import { Runtime, type SubscribeRequest, type Subscription, type TurnRequest } from "../../src/supervisor/Runtime.ts"

interface Stubbed {
  session: Session
  readonly entries: Array<TranscriptEntry>
  readonly wake: Set<() => void>
  removed: boolean
}

export interface Stub {
  readonly service: Runtime["Service"]
  readonly layer: Layer.Layer<Runtime>
  readonly written: Array<Uint8Array>
  /** Asks that wait now, and those that were interrupted. */
  readonly asks: { waiting: number; interrupted: number }
  readonly pulled: { entries: number }
  readonly liveSubscriptions: { count: number }
  readonly shutdowns: Array<number | undefined>
  readonly end: (turn: string, status?: TurnStatus) => void
  readonly session: (spec: SessionSpecInput) => Session
  /** Ids, in order of acceptance. */
  readonly turns: () => ReadonlyArray<string>
}

export interface Flood {
  readonly total: number
  readonly text: string
  readonly ring?: number
  readonly gone?: number
}

export const makeStub = (flood: Flood = { total: 0, text: "" }): Stub => {
  const ids = makeIds("stub")
  const sessions = new Map<string, Stubbed>()
  const turns = new Map<string, Turn>()
  const ends = new Map<string, Set<(turn: Turn) => void>>()
  const written: Array<Uint8Array> = []
  const asks = { waiting: 0, interrupted: 0 }
  const pulled = { entries: 0 }
  const liveSubscriptions = { count: 0 }
  let listed: ReadonlyArray<Stubbed> = []
  const shutdowns: Array<number | undefined> = []
  let close!: () => void
  const closed = new Promise<void>((resolve) => (close = resolve))

  const find = (session: string) =>
    sessions.get(session) ??
    [...sessions.values()].find((each) => each.session.id === session || each.session.spec.task === session)
  const need = <A>(session: string, use: (found: Stubbed) => A): Effect.Effect<A, SessionNotFound> =>
    Effect.suspend(() => {
      const found = find(session)
      return found === undefined ? new SessionNotFound({ session }) : Effect.sync(() => use(found))
    })
  const append = (stubbed: Stubbed, body: TranscriptBody, turn?: Turn["id"]): number => {
    const seq = stubbed.entries.length + 1
    const { id } = stubbed.session
    stubbed.entries.push({
      session: id,
      seq,
      at: 1_750_000_000_000 + seq,
      incarnation: 1,
      ...(turn && { turn }),
      ...body,
    })
    stubbed.session = { ...stubbed.session, seq }
    for (const wake of stubbed.wake) wake()
    return seq
  }
  const make = (input: SessionSpecInput): Session => {
    const name = input.name ?? `s${sessions.size}`
    const session: Session = {
      id: ids.session(),
      name,
      supervisor: "root",
      status: "ready",
      spec: resolveSpec({ ...input, name, command: input.command ?? "cat" }),
      pid: 4242,
      incarnation: 1,
      restarts: 0,
      turns: { queued: 0, running: 0, completed: 0, failed: 0 },
      containment: "guard",
      agentSessionId: null,
      forkedFrom: null,
      suspendedBy: null,
      pendingRequests: [],
      createdAt: 1_750_000_000_000,
      lastActiveAt: 1_750_000_000_000,
      expiresAt: null,
      exit: { kind: "signaled", signal: "SIGKILL", at: 1_750_000_000_123 },
      deaths: [],
      survivors: [],
      usage: null,
      seq: 0,
    }
    sessions.set(name, { session, entries: [], wake: new Set(), removed: false })
    return session
  }
  const end = (id: string, status: TurnStatus = "completed"): void => {
    const turn = turns.get(id)
    if (turn === undefined || isTerminal(turn)) return
    const stubbed = find(turn.session)
    if (stubbed === undefined) return
    const text = `echo ${promptText(turn.prompt)}`
    const durationMs = 5
    const ended = {
      type: "turn/ended",
      status: status as "completed",
      text,
      stopReason: "end_turn",
      durationMs,
    } as const
    const lastSeq = append(stubbed, ended, turn.id)
    const done: Turn = { ...turn, status, text, stopReason: "end_turn", endedAt: 1_750_000_000_005, lastSeq }
    turns.set(id, done)
    for (const then of ends.get(id) ?? []) then(done)
    ends.delete(id)
  }
  const accept = (stubbed: Stubbed, request: TurnRequest): Turn => {
    const id = ids.turn(stubbed.session.id)
    const firstSeq = append(stubbed, { type: "turn/queued", prompt: request.prompt }, id)
    const turn: Turn = {
      id,
      session: stubbed.session.id,
      status: "running",
      prompt: request.prompt,
      text: "",
      stopReason: null,
      usage: null,
      error: null,
      idempotencyKey: request.idempotencyKey ?? null,
      ...(request.timeoutMs === undefined ? undefined : { timeoutMs: request.timeoutMs }),
      queuedAt: 1_750_000_000_000,
      startedAt: 1_750_000_000_000,
      endedAt: null,
      firstSeq,
      lastSeq: firstSeq,
    }
    turns.set(id, turn)
    const [verb, argument] = promptText(request.prompt).split(" ")
    if (verb === "hang") return turn
    if (verb === "slow") setTimeout(() => end(id), Number(argument))
    else {
      queueMicrotask(() => {
        append(stubbed, { type: "turn/started", attempt: 1 }, id)
        if (verb === "stream") {
          for (let n = 1; n <= Number(argument); n++) append(stubbed, { type: "turn/delta", text: `d${n}` }, id)
        }
        end(id)
      })
    }
    return turn
  }
  const wait = (id: string): Effect.Effect<Turn, TurnNotFound> =>
    Effect.callback<Turn, TurnNotFound>((resume) => {
      const turn = turns.get(id)
      if (turn === undefined) return resume(new TurnNotFound({ turn: id }))
      if (isTerminal(turn)) return resume(Effect.succeed(turn))
      asks.waiting++
      const then = (done: Turn) => {
        asks.waiting--
        resume(Effect.succeed(done))
      }
      const waiting = ends.get(id) ?? new Set()
      ends.set(id, waiting.add(then))
      return Effect.sync(() => {
        asks.waiting--
        asks.interrupted++
        waiting.delete(then)
      })
    })
  const made = (seq: number, session: SessionId): TranscriptEntry => ({
    session,
    seq,
    at: 1_750_000_000_000,
    incarnation: 1,
    type: "output",
    stream: "stdout",
    data: flood.text,
  })
  const subscription = (stubbed: Stubbed, request: SubscribeRequest): Subscription => {
    let after = request.after ?? stubbed.entries.length
    const isFlood = stubbed.session.name === "flood"
    const dropped = isFlood ? flood.total - (flood.ring ?? flood.total) : 0
    const missed = after < dropped ? [{ session: stubbed.session.id, after, through: dropped }] : []
    after = Math.max(after, dropped)
    const take = (limit: number) => {
      const entries: Array<TranscriptEntry> = []
      while (entries.length < limit) {
        const next = isFlood
          ? after < flood.total
            ? made(after + 1, stubbed.session.id)
            : undefined
          : stubbed.entries[after]
        if (next === undefined) break
        after++
        if (request.turn !== undefined && next.turn !== request.turn) continue
        if (request.types === undefined || request.types.includes(next.type)) entries.push(next)
      }
      pulled.entries += entries.length
      return entries
    }
    return {
      pull: (limit = 256) =>
        Effect.callback((resume) => {
          const attempt = () => {
            const entries = take(limit)
            if (entries.length === 0 && !stubbed.removed) return false
            stubbed.wake.delete(attempt)
            const first = missed.splice(0)
            resume(Effect.succeed({ entries, missed: first, ...(entries.length === 0 ? { ended: true } : undefined) }))
            return true
          }
          if (attempt()) return
          stubbed.wake.add(attempt)
          return Effect.sync(() => stubbed.wake.delete(attempt))
        }),
    }
  }
  const update = (name: string, changed: Partial<Session>): Session => {
    const stubbed = sessions.get(name)!
    return (stubbed.session = { ...stubbed.session, ...changed })
  }
  const control = (session: string) => need(session, (found) => found.session)
  const none = <K extends string>(names: ReadonlyArray<K>) =>
    Object.fromEntries(names.map((name) => [name, 0])) as Readonly<Record<K, number>>

  const service: Runtime["Service"] = {
    info: Effect.succeed({
      name: "creche",
      version: "0.0.0-stub",
      protocolVersion: 1,
      pid: process.pid,
      node: process.version,
      platform: process.platform,
      startedAt: 1_750_000_000_000,
      containment: { level: "guard", detail: "", levels: [] },
      dataDirectory: "/nowhere",
      socket: null,
    }),
    stats: Effect.succeed({
      sessions: none(sessionStatuses),
      templates: {},
      expiredPending: 0,
      usage: { total: {}, templates: {} },
      durations: { count: 0, meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null, maxMs: null },
      store: { durable: false, sizeBytes: 0 },
      turns: none(["queued", "running", ...terminalTurnStatuses]),
      restarts: 0,
      crashes: 0,
      gaveUp: 0,
      spawns: 0,
      uptimeMs: 1,
      memory: { rssBytes: 1, heapUsedBytes: 1 },
    }),
    tree: Effect.succeed({
      type: "supervisor",
      path: "root",
      status: "running",
      strategy: "one_for_one",
      maxRestarts: null,
      withinMs: null,
      reason: null,
      restarts: 0,
      children: [],
    }),
    startSupervisor: ({ path, strategy = "one_for_one", maxRestarts = null, withinMs = null }) =>
      Effect.succeed({
        type: "supervisor",
        path,
        status: "running",
        strategy,
        maxRestarts,
        withinMs,
        reason: null,
        restarts: 0,
        children: [],
      }),
    stopSupervisor: (path) =>
      path === "root" || path === "root/none"
        ? Effect.fail(new SupervisorNotFound({ supervisor: path }))
        : Effect.succeed({ survivors: [] }),
    health: Effect.succeed({ status: "ok", live: true, ready: true, problems: [] }),
    healthFor: () => Effect.succeed({ status: "ok", live: true, ready: true, problems: [] }),
    metrics: Effect.succeed([]),
    opened: Effect.void,
    ending: Effect.never,
    kill: Effect.void,
    shutdown: (drainMs) =>
      Effect.sync(() => {
        shutdowns.push(drainMs)
        for (const turn of turns.keys()) end(turn, "cancelled")
        close()
        return { survivors: [] }
      }),
    closed: Effect.promise(() => closed),
    start: (spec, ifExists) =>
      Effect.suspend(() => {
        const found = sessions.get(spec.name ?? "")
        if (found === undefined) return Effect.succeed(make(spec))
        return ifExists === "return"
          ? Effect.succeed(found.session)
          : Effect.fail(new SessionAlreadyExists({ session: found.session.name, field: "name" }))
      }),
    configure: (spec) => service.start(spec, "return"),
    get: control,
    list: ({ limit = 100, cursor = "0" }) =>
      Effect.sync(() => {
        const from = Number(cursor)
        if (listed.length !== sessions.size) listed = [...sessions.values()]
        const page = listed.slice(from, from + limit)
        const next = from + limit < listed.length ? String(from + limit) : null
        return { sessions: page.map((each) => each.session), nextCursor: next }
      }),
    ask: (request) =>
      promptText(request.prompt) === "die"
        ? Effect.die(new Error("a secret in a stack"))
        : Effect.flatMap(
            need(request.session, (found) => accept(found, request)),
            (turn) => wait(turn.id),
          ),
    tell: (request) => need(request.session, (found) => accept(found, request)),
    submit: (request, until, reply) =>
      void Effect.runFork(until === "ended" ? service.ask(request) : service.tell(request)).addObserver(reply),
    turn: (turn) =>
      Effect.suspend(() => {
        const found = turns.get(turn)
        return found === undefined ? new TurnNotFound({ turn }) : Effect.succeed(found)
      }),
    wait,
    cancel: (session, turn) =>
      Effect.andThen(
        control(session),
        Effect.suspend(() => {
          const id = turn ?? [...turns.values()].find((each) => !isTerminal(each))?.id ?? ""
          end(id, "cancelled")
          const found = turns.get(id)
          return found === undefined ? new TurnNotFound({ turn: id }) : Effect.succeed(found)
        }),
      ),
    answer: ({ session }) => control(session),
    authenticate: (session) => control(session),
    write: (session, data) =>
      Effect.map(control(session), (found) => {
        written.push(data)
        return found
      }),
    signal: control,
    suspend: control,
    resume: control,
    restart: control,
    stop: control,
    remove: (session) =>
      need(session, (found) => {
        sessions.delete(found.session.name)
        found.removed = true
        for (const wake of found.wake) wake()
      }),
    transcript: (session, { after = 0, limit = 1000, all = false }) =>
      need(session, ({ entries, session: { id, name } }) => {
        if (name !== "flood") {
          return {
            entries: entries.slice(after, after + limit),
            nextAfter: Math.max(after, Math.min(after + limit, entries.length)),
            trimmed: 0,
          }
        }
        const trimmed = all ? (flood.gone ?? 0) : flood.total - (flood.ring ?? flood.total)
        const from = Math.max(after, trimmed)
        const nextAfter = Math.max(from, Math.min(from + limit, flood.total))
        const page = Array.from({ length: nextAfter - from }, (_, n) => made(from + n + 1, id))
        return { entries: page, nextAfter, trimmed }
      }),
    history: (session, { limit = 100, before = Number.MAX_SAFE_INTEGER }) =>
      need(session, ({ session: { id } }) => {
        const older = [...turns.values()]
          .filter((turn) => turn.session === id && turn.firstSeq < before)
          .toSorted((a, b) => b.firstSeq - a.firstSeq)
        const page = older.slice(0, limit)
        return { turns: page, nextBefore: older.length > limit ? page.at(-1)!.firstSeq : null }
      }),
    search: ({ query, session, limit = 50 }) =>
      Effect.map(session === undefined ? Effect.undefined : control(session), (within) =>
        [...turns.values()]
          .filter((turn) => within === undefined || turn.session === within.id)
          .filter((turn) => query.split(" ").every((word) => promptText(turn.prompt).includes(word)))
          .slice(-limit)
          .toReversed()
          .map((turn) => ({ turn, snippet: promptText(turn.prompt) })),
      ),
    extend: (session, expiresInMs) =>
      need(session, (found) => {
        const expiresAt = expiresInMs === null ? null : 1_750_000_000_000 + expiresInMs
        return (found.session = { ...found.session, expiresAt })
      }),
    fork: (session, name) =>
      Effect.flatMap(control(session), ({ spec }): Effect.Effect<Session, Unsupported | SessionAlreadyExists> =>
        spec.protocol.type === "lines"
          ? new Unsupported({ what: "session/fork", detail: "lines has no conversation to go on from" })
          : name !== undefined && sessions.has(name)
            ? new SessionAlreadyExists({ session: name, field: "name" })
            : Effect.sync(() => {
                const { template: _, ...fork } = spec
                const forked = make({ ...fork, name: name ?? `${spec.name}-fork`, task: null } as SessionSpecInput)
                return update(forked.name, { forkedFrom: "conversation" })
              }),
      ),
    templates: makeTemplates({ builtIn: { cat: { command: "cat" } }, file: {} }, makeMemory()),
    subscribe: (request) =>
      Effect.flatMap(
        need(request.session ?? "", (found) => subscription(found, request)),
        (made) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              liveSubscriptions.count++
              return made
            }),
            () => Effect.sync(() => liveSubscriptions.count--),
          ),
      ),
  }
  const layer = Layer.succeed(Runtime, service)
  return {
    service,
    layer,
    written,
    asks,
    pulled,
    liveSubscriptions,
    shutdowns,
    end,
    session: make,
    turns: () => [...turns.keys()],
  }
}
