/** How agents are asked to end: a turn that runs is interrupted, and stdin ends once it has ended. Used by their protocols. */
import { closeStdin, patienceMs, type PoliteStop } from "./PoliteStop.ts"
import type { ProtocolEvent, Step } from "./Protocol.ts"

/** What the events of a step write; what else they say is settled by the ending itself. */
const written = (events: ReadonlyArray<ProtocolEvent>): string =>
  events.map((event) => (event.type === "write" ? event.data : "")).join("")

/** `interrupt`: the protocol's own cancel. */
export const interruptThenEof = <S>({ state, events }: Step<S>, isAnswering: (state: S) => boolean): PoliteStop<S> => ({
  state,
  steps: isAnswering(state)
    ? [{ type: "write", data: written(events), until: "turn", patienceMs }, closeStdin]
    : [closeStdin],
})
