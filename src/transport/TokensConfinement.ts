/**
 * A runtime as a confined token sees it: the sessions under its supervisor path and with its tags, and no others: those
 * are not found. Everything goes through the one `Runtime`; here it is only narrowed, so that no transport can forget to.
 * Who may call what at all is for `HttpAccess`.
 */
import * as Effect from "effect/Effect"
import { Forbidden, type RuntimeError, SessionAlreadyExists, SessionNotFound, TurnNotFound } from "../domain/Errors.ts"
import { sessionOfTurn, type TurnId } from "../domain/Ids.ts"
import type { Session } from "../domain/Session.ts"
import type { HealthView, Runtime, Subscription } from "../supervisor/Runtime.ts"
import type { Confinement } from "./Tokens.ts"

type Service = Runtime["Service"]

const isWithin = (path: string, supervisor: string): boolean => path === supervisor || path.startsWith(`${supervisor}/`)

const fits = ({ supervisor, tags = {} }: Confinement, session: Parameters<HealthView["session"]>[0]): boolean =>
  (supervisor === undefined || isWithin(session.supervisor, supervisor)) &&
  Object.entries(tags).every(([name, value]) => Object.hasOwn(session.tags, name) && session.tags[name] === value)

/** Whether the session is one of those. */
export const covers = (confinement: Confinement, { supervisor, spec: { tags } }: Session): boolean =>
  fits(confinement, { supervisor, tags })

const writtenElsewhere = "a session that this token does not see goes on with this conversation already"

export const confined = (runtime: Service, confinement: Confinement): Service => {
  const own = (session: string): Effect.Effect<Session, RuntimeError> =>
    Effect.flatMap(runtime.get(session), (found) =>
      covers(confinement, found) ? Effect.succeed(found) : new SessionNotFound({ session }),
    )
  /** By its id from here on: the name may be another session's by then. */
  const within = <A>(session: string, use: (id: string) => Effect.Effect<A, RuntimeError>) =>
    Effect.flatMap(own(session), ({ id }) => use(id))
  const ofTurn = <A>(turn: string, use: Effect.Effect<A, RuntimeError>): Effect.Effect<A, RuntimeError> => {
    const session = sessionOfTurn(turn as TurnId)
    const unknown = new TurnNotFound({ turn })
    if (session === undefined) return Effect.fail(unknown)
    return Effect.flatMap(
      Effect.catchTag(own(session), "SessionNotFound", () => Effect.fail(unknown)),
      () => use,
    )
  }
  const denied = (what: string) => new Forbidden({ detail: `${what} is not for a confined token` })
  const isOwn = (id: string) =>
    Effect.map(Effect.exit(runtime.get(id)), (exit) => exit._tag === "Success" && covers(confinement, exit.value))
  /** A session that was there already may be another's. */
  const isFree = (session: string | null | undefined, field: "name" | "task") =>
    session === undefined || session === null
      ? Effect.void
      : runtime.get(session).pipe(
          Effect.flatMap((found) =>
            covers(confinement, found) ? Effect.void : new SessionAlreadyExists({ session, field }),
          ),
          Effect.catchTag("SessionNotFound", () => Effect.void),
        )
  // Tags are those of sessions: who is confined by them alone has no supervisor.
  const view: HealthView = {
    session: (session) => fits(confinement, session),
    supervisor: (path) => confinement.supervisor !== undefined && isWithin(path, confinement.supervisor),
    ...(confinement.tags === undefined ? undefined : { tags: confinement.tags }),
  }
  return {
    ...runtime,
    health: runtime.healthFor(view),
    startSupervisor: () => denied("supervisor/start"),
    stopSupervisor: () => denied("supervisor/stop"),
    start: (spec, ifExists) =>
      Effect.gen(function* () {
        const supervisor = spec.supervisor ?? confinement.supervisor
        if (confinement.supervisor !== undefined && !isWithin(supervisor ?? "root", confinement.supervisor)) {
          return yield* new Forbidden({ detail: `this token starts sessions under ${confinement.supervisor} alone` })
        }
        for (const [name, value] of Object.entries(confinement.tags ?? {})) {
          const given = spec.tags !== undefined && Object.hasOwn(spec.tags, name) ? spec.tags[name] : value
          if (given !== value) return yield* new Forbidden({ detail: `this token sets the tag ${name} itself` })
        }
        if (ifExists === "return") {
          yield* isFree(spec.name, "name")
          yield* isFree(spec.task, "task")
        }
        const own = {
          ...spec,
          ...(supervisor === undefined ? undefined : { supervisor }),
          ...(confinement.tags === undefined ? undefined : { tags: { ...spec.tags, ...confinement.tags } }),
        }
        const started = yield* runtime.start(own, ifExists).pipe(
          Effect.catchTag("SessionAlreadyExists", (error) =>
            // It names the other one; a name or a task the caller knows.
            error.field !== "protocol.resume"
              ? Effect.fail(error)
              : Effect.flatMap(isOwn(error.session), (is) =>
                  is ? Effect.fail(error) : Effect.fail<RuntimeError>(new Forbidden({ detail: writtenElsewhere })),
                ),
          ),
        )
        if (covers(confinement, started)) return started
        return yield* spec.name === undefined
          ? new SessionAlreadyExists({ session: spec.task ?? "", field: "task" })
          : new SessionAlreadyExists({ session: spec.name, field: "name" })
      }),
    configure: () => denied("runtime.configure"),
    get: own,
    list: (query) => {
      const tags = { ...query.tags, ...confinement.tags }
      const contradicts = Object.entries(query.tags ?? {}).some(([name, value]) => tags[name] !== value)
      if (contradicts) return Effect.succeed({ sessions: [], nextCursor: null })
      // A page may become shorter than its limit: its cursor says whether there is more.
      return Effect.map(
        runtime.list(confinement.tags === undefined ? query : { ...query, tags }),
        ({ sessions, nextCursor }) => ({
          sessions: sessions.filter((session) => covers(confinement, session)),
          nextCursor,
        }),
      )
    },
    ask: (request) => within(request.session, (session) => runtime.ask({ ...request, session })),
    tell: (request) => within(request.session, (session) => runtime.tell({ ...request, session })),
    submit: (request, until, reply) =>
      void Effect.runFork(
        within(request.session, (session) =>
          until === "ended" ? runtime.ask({ ...request, session }) : runtime.tell({ ...request, session }),
        ),
      ).addObserver(reply),
    turn: (turn) => ofTurn(turn, runtime.turn(turn)),
    wait: (turn, timeoutMs) => ofTurn(turn, runtime.wait(turn, timeoutMs)),
    cancel: (session, turn) => within(session, (id) => runtime.cancel(id, turn)),
    answer: (answer) => within(answer.session, (session) => runtime.answer({ ...answer, session })),
    authenticate: (session, method) => within(session, (id) => runtime.authenticate(id, method)),
    write: (session, data) => within(session, (id) => runtime.write(id, data)),
    signal: (session, signal) => within(session, (id) => runtime.signal(id, signal)),
    suspend: (session) => within(session, runtime.suspend),
    resume: (session) => within(session, runtime.resume),
    restart: (session) => within(session, runtime.restart),
    stop: (session, mode) => within(session, (id) => runtime.stop(id, mode)),
    remove: (session) => within(session, runtime.remove),
    transcript: (session, query) => within(session, (id) => runtime.transcript(id, query)),
    history: (session, query) => within(session, (id) => runtime.history(id, query)),
    search: (query) =>
      query.session !== undefined
        ? within(query.session, (session) => runtime.search({ ...query, session }))
        : Effect.flatMap(runtime.search(query), (hits) => Effect.filter(hits, ({ turn }) => isOwn(turn.session))),
    extend: (session, expiresInMs) => within(session, (id) => runtime.extend(id, expiresInMs)),
    fork: (session, name) => within(session, (id) => runtime.fork(id, name)),
    subscribe: (request) =>
      request.session !== undefined
        ? Effect.flatMap(own(request.session), ({ id }) => runtime.subscribe({ ...request, session: id }))
        : Effect.map(runtime.subscribe(request), (subscription) => narrowed(subscription, isOwn)),
  }
}

/** Entries of own sessions alone. A session's place and tags do not change, so each is looked up once. */
const narrowed = (subscription: Subscription, isOwn: (id: string) => Effect.Effect<boolean>): Subscription => {
  const known = new Map<string, boolean>()
  const decide = (id: string) => {
    const decided = known.get(id)
    if (decided !== undefined) return Effect.succeed(decided)
    return Effect.tap(isOwn(id), (is) =>
      Effect.sync(() => {
        // Sessions come and go; the memory of them must not grow with all that ever were.
        if (known.size >= 10_000) known.clear()
        known.set(id, is)
      }),
    )
  }
  return {
    pull: Effect.fnUntraced(function* (limit?: number) {
      while (true) {
        const batch = yield* subscription.pull(limit)
        const entries = yield* Effect.filter(batch.entries, ({ session }) => decide(session))
        const missed = yield* Effect.filter(batch.missed, ({ session }) => decide(session))
        if (entries.length > 0 || missed.length > 0 || batch.ended === true) return { ...batch, entries, missed }
      }
    }),
  }
}
