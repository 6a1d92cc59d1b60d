/**
 * A protocol whose bugs stay its own: a step that throws becomes `broken`, so that the turn it was about fails and the
 * process is replaced, instead of the same prompt or bytes throwing again in every incarnation. Made once a protocol.
 */
import type { Protocol, Step } from "../protocols/Protocol.ts"

const guardedOnes = new WeakMap<Protocol, Protocol>()

const broken = <S>(state: S, defect: unknown): Step<S> => ({
  state,
  events: [{ type: "broken", detail: `the protocol has a bug: ${String(defect)}` }],
})

const step =
  <S, Args extends ReadonlyArray<unknown>>(call: (state: S, ...args: Args) => Step<S>) =>
  (state: S, ...args: Args): Step<S> => {
    try {
      return call(state, ...args)
    } catch (defect) {
      return broken(state, defect)
    }
  }

export const guarded = (protocol: Protocol): Protocol => {
  const known = guardedOnes.get(protocol)
  if (known !== undefined) return known
  const { start, politeStop, cancel, answer, returned, authenticate, args, canFork } = protocol
  const made: Protocol = {
    name: protocol.name,
    framing: protocol.framing,
    start: (context) => {
      try {
        return start(context)
      } catch (defect) {
        return broken(undefined, defect)
      }
    },
    prompt: step(protocol.prompt),
    frames: step(protocol.frames),
    eof: step(protocol.eof),
    timer: step(protocol.timer),
    ...(args === undefined ? undefined : { args }),
    ...(canFork === undefined ? undefined : { canFork }),
    ...(politeStop === undefined
      ? undefined
      : {
          politeStop: (state) => {
            try {
              return politeStop(state)
            } catch {
              // Whom it cannot ask, it signals.
              return { state, steps: [] }
            }
          },
        }),
    ...(cancel === undefined ? undefined : { cancel: step(cancel) }),
    ...(authenticate === undefined ? undefined : { authenticate: step(authenticate) }),
    ...(answer === undefined ? undefined : { answer: step(answer) }),
    ...(returned === undefined ? undefined : { returned: step(returned) }),
  }
  guardedOnes.set(protocol, made)
  return made
}
