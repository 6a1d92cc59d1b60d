/** `openRuntime`: no messages at all. Its values are the domain's; they are compared as the wire has them. */
import { isRuntimeError, codeOf, errorData } from "../../../src/transport/ErrorCodes.ts"
import { wireEntry, wireSession, wireTemplate, wireTime, wireTurn } from "../../../src/transport/Wire.ts"
import { type EmbeddedRuntime, openRuntime } from "../../../src/index.ts"
import { notOffered } from "../../../src/transport/Contract.ts"
import { join } from "node:path"
import type { Answer, ConformanceClient, Failure, FollowedEvent, Transport } from "../ConformanceClient.ts"

type Call = (runtime: EmbeddedRuntime, params: any) => Promise<unknown>

const turnCall =
  (method: "ask" | "tell"): Call =>
  async (runtime, { session, prompt, ...options }) =>
    wireTurn(await runtime[method](session, prompt, options))

const onSession =
  (method: "get" | "suspend" | "resume" | "restart"): Call =>
  async (runtime, { session }) =>
    wireSession(await runtime[method](session))

const calls: Readonly<Record<string, Call>> = {
  "runtime/info": async (runtime) => {
    const info = await runtime.info()
    return { ...info, startedAt: wireTime(info.startedAt) }
  },
  "runtime/stats": (runtime) => runtime.stats(),
  "runtime/health": (runtime) => runtime.health(),
  "runtime/tree": (runtime) => runtime.tree(),
  "supervisor/start": (runtime, { path, ...settings }) => runtime.supervisors.start(path, settings),
  "supervisor/stop": (runtime, { path }) => runtime.supervisors.stop(path),
  "runtime/metrics": (runtime) => runtime.metrics(),
  "runtime/shutdown": (runtime, { drainMs }) => runtime.close({ drainMs }),
  "session/start": async (runtime, { ifExists, ...spec }) => wireSession(await runtime.start(spec, ifExists)),
  "session/get": onSession("get"),
  "session/list": async (runtime, query) => {
    const { sessions, nextCursor } = await runtime.list(query)
    return { sessions: sessions.map(wireSession), nextCursor }
  },
  "session/ask": turnCall("ask"),
  "session/tell": turnCall("tell"),
  "turn/get": async (runtime, { turn }) => wireTurn(await runtime.turn(turn)),
  "turn/wait": async (runtime, { turn, timeoutMs }) => wireTurn(await runtime.wait(turn, timeoutMs)),
  "session/cancel": async (runtime, { session, turn }) => wireTurn(await runtime.cancel(session, turn)),
  "session/answer": async (runtime, { session, request, outcome, ...options }) =>
    wireSession(await runtime.answer(session, request, outcome, options)),
  "session/authenticate": async (runtime, { session, method }) =>
    wireSession(await runtime.authenticate(session, method)),
  "session/write": async (runtime, { session, data, encoding }) =>
    wireSession(await runtime.write(session, encoding === "base64" ? Buffer.from(data, "base64") : data)),
  "session/signal": async (runtime, { session, signal }) => wireSession(await runtime.signal(session, signal)),
  "session/suspend": onSession("suspend"),
  "session/resume": onSession("resume"),
  "session/restart": onSession("restart"),
  "session/stop": async (runtime, { session, mode }) => wireSession(await runtime.stop(session, mode)),
  "session/remove": async (runtime, { session }) => {
    await runtime.remove(session)
    return {}
  },
  "session/transcript": async (runtime, { session, ...query }) => {
    const { entries, ...page } = await runtime.transcript(session, query)
    return { ...page, entries: entries.map(wireEntry) }
  },
  "session/history": async (runtime, { session, ...query }) => {
    const { turns, ...page } = await runtime.history(session, query)
    return { ...page, turns: turns.map(wireTurn) }
  },
  "session/search": async (runtime, { query, ...options }) => ({
    hits: (await runtime.search(query, options)).map(({ turn, snippet }) => ({ turn: wireTurn(turn), snippet })),
  }),
  "session/extend": async (runtime, { session, expiresInMs }) =>
    wireSession(await runtime.extend(session, expiresInMs)),
  "session/fork": async (runtime, { session, name }) => wireSession(await runtime.fork(session, name)),
  "template/list": async (runtime) => ({ templates: (await runtime.templates.list()).map(wireTemplate) }),
  "template/get": async (runtime, { name }) => wireTemplate(await runtime.templates.get(name)),
  "template/put": async (runtime, { name, template }) => wireTemplate(await runtime.templates.put(name, template)),
  "template/remove": async (runtime, { name }) => {
    await runtime.templates.remove(name)
    return {}
  },
}

const failureOf = (error: unknown): Failure => {
  if (!isRuntimeError(error)) throw error
  const data = errorData(error)
  return { tag: data.tag, code: codeOf(error), data, message: error.message }
}

const clientOf = (runtime: EmbeddedRuntime): ConformanceClient => {
  const request: ConformanceClient["request"] = async (method, params = {}): Promise<Answer> => {
    const call = calls[method]
    if (call === undefined) throw new Error(`there is no function for ${method}`)
    try {
      // As a transport would hand it over: what was given cannot change afterwards.
      return { ok: true, result: structuredClone(await call(runtime, structuredClone(params))) }
    } catch (error) {
      return { ok: false, failure: failureOf(error) }
    }
  }

  return {
    request,
    stream: (params) => {
      const entries: Array<any> = []
      const streamed = async (): Promise<Answer> => {
        const told = await request("session/tell", params)
        if (!told.ok) return told
        const { id: turn, session, firstSeq } = told.result
        for await (const entry of runtime.subscribe({ session, after: firstSeq - 1, turn })) {
          entries.push(wireEntry(entry))
          if (entry.type === "turn/ended") break
        }
        return request("turn/wait", { turn })
      }
      return { entries, answer: streamed() }
    },
    subscribe: async (params) => {
      const events: Array<FollowedEvent> = []
      const reading = runtime.subscribe(params, (missed) => events.push({ missed }))[Symbol.asyncIterator]()
      let failed: unknown
      let isClosed = false
      const read = async () => {
        try {
          for (let next = await reading.next(); next.done !== true; next = await reading.next())
            if (!isClosed) events.push({ entry: wireEntry(next.value) })
          events.push({ ended: true })
        } catch (error) {
          failed = error
        }
      }
      void read()
      // It begins with the first step of the loop, and there is no word of it: a turn of the event loop is enough.
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
      if (failed !== undefined) return failureOf(failed)
      return { id: "the loop", events, close: async () => void (isClosed = true) }
    },
    disconnect: async () => {},
  }
}

export const inProcess: Transport = {
  name: "in process",
  lacks: {
    initialize: "there is no connection to begin",
    "session/unsubscribe": "leaving the loop ends it",
    messages: "values are handed over as they are",
    "returning clients": "its client is the program itself",
    "giving up": "a promise is left, and nothing waits on another side",
    tokens: "the program may do what it likes",
    "unknown methods": "there is no function of that name",
    "params of every method": "functions that take nothing have no fields",
    encodings: "bytes are handed over as bytes",
    "session/resize": "no session has a terminal yet",
    "session/screen": "no session has a terminal yet",
    "a configuration file": "its options are arguments",
    ...Object.fromEntries(notOffered.map((method) => [method, "there is no function for what is not offered"])),
  },
  open: async (directory) => {
    const runtime = await openRuntime({ dataDirectory: join(directory, "data") })
    return { connect: async () => clientOf(runtime), close: async () => void (await runtime.close()) }
  },
}
