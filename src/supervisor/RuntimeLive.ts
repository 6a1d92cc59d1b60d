/**
 * The Runtime service over a SessionSupervisor: finds the session, hands the wish to its actor, reads the store. Closing
 * the layer's scope is a shutdown.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { Draining, InvalidParams, type RuntimeError, type StoreUnavailable, TurnNotFound } from "../domain/Errors.ts"
import { makeIds, type TurnId } from "../domain/Ids.ts"
import { SessionStore } from "../domain/SessionStore.ts"
import { SupervisorStore } from "../domain/SupervisorStore.ts"
import { TemplateStore } from "../domain/TemplateStore.ts"
import { isTerminal, type Turn } from "../domain/Turn.ts"
import type { PendingTurn } from "../actors/SessionState.ts"
import { Spawner } from "../process/Subprocess.ts"
import { Runtime, type TurnRequest } from "./Runtime.ts"
import { RuntimeConfig } from "./RuntimeConfig.ts"
import { Chance } from "./Chance.ts"
import { SessionSupervisor } from "./SessionSupervisor.ts"
import { whenRemoved, type Slot } from "./Slot.ts"
import { hasFiles, readAttachments } from "./Attachments.ts"
import { recover } from "./Recovery.ts"
import * as RetentionSchedule from "./RetentionSchedule.ts"
import { directoryOf, SessionDirectories } from "./SessionDirectories.ts"
import { SessionLog } from "./SessionLog.ts"
import { type Drain, drained } from "./Shutdown.ts"
import * as Subscriptions from "./Subscriptions.ts"
import { makeHealth } from "./Health.ts"
import { measured } from "./MeasuredSpawner.ts"
import { CurrentMeters, measure } from "./Meters.ts"
import { makeReports, treeOf } from "./Reports.ts"
import { makeMetrics } from "./RuntimeMetrics.ts"
import { makeTemplates } from "./Templates.ts"

const defaultListLimit = 100

const sourceOf = (slot: Slot): Subscriptions.Source => ({
  id: slot.actor.id,
  seq: () => slot.actor.seq,
  listen: (listener) => slot.actor.listen(listener),
  beforeRemoval: (farewell) => {
    const farewells = (slot.farewells ??= new Set())
    farewells.add(farewell)
    return () => farewells.delete(farewell)
  },
})

const make = Effect.gen(function* () {
  const config = yield* RuntimeConfig
  const store = yield* SessionStore
  const spawner = yield* Spawner
  const clock = yield* Clock.Clock
  const chance = yield* Chance
  const directories = yield* SessionDirectories
  const ids = makeIds(chance.origin())
  const templates = makeTemplates(config.templates, yield* TemplateStore)
  const meters = yield* CurrentMeters
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const supervisor = new SessionSupervisor({
    config,
    log: new SessionLog({ run, minimum: yield* References.MinimumLogLevel }),
    store,
    supervisors: yield* SupervisorStore,
    spawner: measured(spawner, meters),
    meters,
    ids,
    clock,
    chance,
    directories,
    run,
  })

  const { register } = supervisor
  const reports = makeReports(supervisor, config)
  const healthFor = makeHealth(supervisor)
  const health = healthFor()

  const onSlot = <A>(
    ref: string,
    use: (slot: Slot) => Effect.Effect<A, RuntimeError>,
  ): Effect.Effect<A, RuntimeError> => Effect.flatMap(register.find(ref), use)

  const pendingTurn = (slot: Slot, request: TurnRequest): PendingTurn => {
    const { timeoutMs } = request
    const turn: Turn = {
      id: ids.turn(slot.actor.id),
      session: slot.actor.id,
      status: "queued",
      prompt: request.prompt,
      text: "",
      stopReason: null,
      usage: null,
      error: null,
      idempotencyKey: request.idempotencyKey ?? null,
      ...(timeoutMs === undefined ? undefined : { timeoutMs }),
      // Known when it is taken in.
      queuedAt: 0,
      startedAt: null,
      endedAt: null,
      firstSeq: 0,
      lastSeq: 0,
    }
    return { turn, attempts: 0, dueAt: timeoutMs === undefined ? null : supervisor.now() + timeoutMs }
  }

  const refusesTurns = (what = "takes no more turns"): Draining | undefined =>
    supervisor.draining ? new Draining({ detail: `the runtime is shutting down; it ${what}` }) : undefined

  const submit = (request: TurnRequest, until: "accepted" | "ended"): Effect.Effect<Turn, RuntimeError> =>
    onSlot(request.session, (slot) => {
      const refusal = refusesTurns()
      if (refusal !== undefined) return Effect.fail(refusal)
      if (!hasFiles(request.prompt)) return slot.actor.submit(pendingTurn(slot, request), until)
      const { id, spec } = slot.actor.state
      const cwd = spec.cwd ?? directoryOf(config.dataDirectory, id)
      const { roots, maxBytes } = spec.attachments
      return Effect.flatMap(readAttachments(request.prompt, { roots: roots ?? [cwd], cwd, maxBytes }), (prompt) =>
        slot.actor.submit(pendingTurn(slot, { ...request, prompt }), until),
      )
    })

  const readTurn = (id: string): Effect.Effect<Turn, RuntimeError> =>
    store
      .turn(id as TurnId)
      .pipe(
        Effect.flatMap((turn) =>
          turn === undefined ? Effect.fail(new TurnNotFound({ turn: id })) : Effect.succeed(turn),
        ),
      )

  const wait = (id: string, timeoutMs?: number): Effect.Effect<Turn, RuntimeError> =>
    Effect.flatMap(readTurn(id), (turn) => {
      const slot = isTerminal(turn) ? undefined : register.whereIs(turn.session)
      if (slot === undefined) return Effect.succeed(turn)
      // Not open any more: it ended between the look at the store and the question.
      const ended = Effect.catchTag(slot.actor.awaitEnd(turn.id), "TurnNotFound", () => readTurn(id))
      if (timeoutMs === undefined) return ended
      return Effect.flatMap(Effect.timeoutOption(ended, timeoutMs), (waited) =>
        waited._tag === "Some" ? Effect.succeed(waited.value) : readTurn(id),
      )
    })

  const cancel = (ref: string, id?: string): Effect.Effect<Turn, RuntimeError> =>
    onSlot(ref, ({ actor }) =>
      actor.cancel((id ?? null) as TurnId | null).pipe(
        Effect.catchTag("TurnNotFound", (missing) =>
          id === undefined
            ? Effect.fail(missing)
            : // Cancelling what has ended already changes nothing; its outcome is the answer.
              Effect.filterOrFail(
                readTurn(id),
                (turn) => turn.session === actor.id && isTerminal(turn),
                () => missing,
              ),
        ),
      ),
    )

  const list: Runtime["Service"]["list"] = ({ limit = defaultListLimit, cursor, status, ...rest }) =>
    Effect.suspend((): ReturnType<Runtime["Service"]["list"]> => {
      if (cursor !== undefined && !(/^\d+$/.test(cursor) && Number.isSafeInteger(Number(cursor)))) {
        return Effect.fail(
          new InvalidParams({ issues: [{ path: "cursor", message: "is unknown; begin without one" }] }),
        )
      }
      const page = store.list({
        ...rest,
        limit,
        ...(status === undefined ? {} : { status: [status].flat() }),
        ...(cursor === undefined ? {} : { after: cursor }),
      })
      return Effect.map(page, ({ sessions, next }) => ({
        // Of one that lives, the actor knows what no commit was needed for; one that is being removed is gone already.
        sessions: sessions.flatMap((record) =>
          register.isLeaving(record.id) ? [] : [register.byId(record.id)?.actor.snapshot() ?? record],
        ),
        nextCursor: next,
      }))
    })

  let subscriptions = 0
  yield* measure((emit) => emit.gauge("creche_subscriptions", subscriptions))

  const closed = yield* Deferred.make<void>()
  const shuttingDown = yield* Deferred.make<{ readonly survivors: ReadonlyArray<number> }>()
  const hurry = yield* Deferred.make<void>()
  const ending = yield* Deferred.make<void>()
  const drain: Drain = {
    slots: () => register.slots(),
    listen: (listener) => supervisor.listen(listener),
    durable: config.durable,
  }
  const shutdown = (drainMs = 0) =>
    Effect.suspend(() => {
      if (supervisor.draining) {
        // Whoever asks again and wants no drain is in a hurry.
        if (drainMs === 0) Deferred.doneUnsafe(hurry, Effect.void)
        return Deferred.await(shuttingDown)
      }
      supervisor.draining = true
      Deferred.doneUnsafe(ending, Effect.void)
      return Effect.raceFirst(drained(drain, drainMs), Deferred.await(hurry)).pipe(
        Effect.andThen(supervisor.stopAll()),
        Effect.map((survivors) => ({ survivors })),
        Effect.tap((outcome) => Deferred.succeed(shuttingDown, outcome)),
        Effect.tap(() => Deferred.succeed(closed, undefined)),
        // Half a shutdown would leave sessions that nobody stops.
        Effect.uninterruptible,
      )
    })
  yield* recover(supervisor)
  const known = new Set<string>(yield* store.ids)
  yield* directories.sweep(config.dataDirectory, known)
  yield* RetentionSchedule.start(store, config.retention)
  yield* Effect.addFinalizer(() =>
    shutdown().pipe(
      Effect.andThen(supervisor.close()),
      // A store that forgets takes its sessions' directories with it.
      Effect.andThen(config.durable ? Effect.void : directories.sweep(config.dataDirectory, new Set())),
    ),
  )

  /** Who comes to answer must not have been there when it was asked. */
  const pendingIn = ({ actor }: Slot) =>
    actor.state.requests.length === 0
      ? []
      : actor.snapshot().pendingRequests.map(({ seq }) => ({ session: actor.id, seq }))

  return Runtime.of({
    ...reports,
    health,
    healthFor,
    metrics: yield* makeMetrics(supervisor, config, meters, health),
    opened: Effect.sync(() => void (supervisor.starting = false)),
    shutdown,
    ending: Deferred.await(ending),
    kill: Effect.suspend(() => {
      Deferred.doneUnsafe(hurry, Effect.void)
      supervisor.kill()
      return Effect.void
    }),
    closed: Deferred.await(closed),
    startSupervisor: (request, whenOther) =>
      Effect.suspend(() => {
        const refusal = refusesTurns("starts no supervisors any more")
        return refusal === undefined
          ? Effect.map(supervisor.supervisors.start(request, whenOther), treeOf)
          : Effect.fail(refusal)
      }),
    stopSupervisor: (path) => Effect.map(supervisor.supervisors.stop(path), (survivors) => ({ survivors })),
    start: (input, ifExists) =>
      Effect.flatMap(templates.expand(input), (spec) => supervisor.starts.start(spec, ifExists)),
    configure: (input) => Effect.flatMap(templates.expand(input), (spec) => supervisor.starts.configure(spec)),
    get: (ref) => onSlot(ref, ({ actor }) => Effect.succeed(actor.snapshot())),
    list,
    ask: (request) => submit(request, "ended"),
    tell: (request) => submit(request, "accepted"),
    submit: (request, until, reply) => {
      const refusal = refusesTurns()
      if (refusal !== undefined) return reply(Exit.fail(refusal))
      const slot = register.whereIs(request.session)
      if (slot !== undefined && !hasFiles(request.prompt)) slot.actor.hand(pendingTurn(slot, request), until, reply)
      // Only on record, if at all, or with files to be read.
      else supervisor.run(Effect.map(Effect.exit(submit(request, until)), reply))
    },
    turn: readTurn,
    wait,
    cancel,
    answer: ({ session, by = "client", ...answer }) =>
      onSlot(session, ({ actor }) => actor.request((reply) => ({ type: "answer", ...answer, by, reply }))),
    authenticate: (ref, method) =>
      onSlot(ref, ({ actor }) => actor.request((reply) => ({ type: "authenticate", method: method ?? null, reply }))),
    write: (ref, data) => onSlot(ref, ({ actor }) => actor.request((reply) => ({ type: "write", data, reply }))),
    signal: (ref, signal) => onSlot(ref, ({ actor }) => actor.request((reply) => ({ type: "signal", signal, reply }))),
    suspend: (ref) => onSlot(ref, ({ actor }) => actor.request((reply) => ({ type: "suspend", reply }))),
    resume: (ref) => onSlot(ref, (slot) => supervisor.starts.bringBack(slot, "resume")),
    restart: (ref) => onSlot(ref, (slot) => supervisor.starts.bringBack(slot, "restart")),
    stop: (ref, mode) => onSlot(ref, (slot) => supervisor.stop(slot, mode)),
    remove: (ref) =>
      onSlot(ref, (slot) =>
        slot.actor.request((reply) => ({ type: "remove", reply })).pipe(Effect.andThen(whenRemoved(slot))),
      ),
    transcript: (ref, query) => onSlot(ref, ({ actor }) => store.transcript(actor.id, query)),
    history: (ref, query) => onSlot(ref, ({ actor }) => store.turns(actor.id, query)),
    search: ({ session, ...query }) =>
      session === undefined
        ? store.search(query)
        : onSlot(session, ({ actor }) => store.search({ ...query, session: actor.id })),
    extend: (ref, expiresInMs) =>
      onSlot(ref, ({ actor }) => actor.request((reply) => ({ type: "extend", expiresInMs, reply }))),
    fork: (ref, name) => onSlot(ref, (slot) => supervisor.starts.fork(slot, name)),
    templates,
    subscribe: ({ session, after, types, turn }) => {
      const filter = { types, turn: turn as TurnId | undefined }
      const counted = Effect.acquireRelease(
        Effect.sync(() => void subscriptions++),
        () => Effect.sync(() => void subscriptions--),
      )
      if (session !== undefined) {
        return Effect.flatMap(Effect.andThen(counted, register.find(session)), (slot) => {
          const waiting = after === undefined ? pendingIn(slot) : []
          const followed = Subscriptions.ofSession(store, sourceOf(slot), after ?? slot.actor.seq, filter)
          return Effect.map(followed, (each) => Subscriptions.afterEntries(store, waiting, filter, each))
        })
      }
      const misplaced = after !== undefined ? "after" : turn !== undefined ? "turn" : undefined
      if (misplaced !== undefined) {
        const message = "needs `session`: every session counts its own entries"
        return Effect.fail(new InvalidParams({ issues: [{ path: misplaced, message }] }))
      }
      return Effect.flatMap(counted, () => {
        const slots = register.slots()
        const known = slots.map(({ actor }) => ({ id: actor.id, seq: actor.seq }))
        const waiting = slots.flatMap(pendingIn)
        const all = Subscriptions.ofAll(store, known, (listener) => supervisor.listen(listener), filter)
        return Effect.map(all, (each) => Subscriptions.afterEntries(store, waiting, filter, each))
      })
    },
  })
})

export const layer: Layer.Layer<
  Runtime,
  StoreUnavailable,
  RuntimeConfig | SessionStore | SupervisorStore | TemplateStore | Spawner
> = Layer.effect(Runtime, make)
