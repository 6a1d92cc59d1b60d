/** Which status of a session may follow which, as a transcript tells it. */
import type { SessionStatus } from "../../src/domain/Session.ts"

export const edges: Readonly<Record<SessionStatus, ReadonlyArray<SessionStatus>>> = {
  // Backoff: a supervisor starts it again, in its turn.
  stopped: ["starting", "backoff"],
  starting: ["authenticating", "ready", "backoff", "stopping", "suspended", "stopped", "failed"],
  authenticating: ["ready", "starting", "backoff", "stopping", "stopped", "failed"],
  // Suspended: its process ended by itself while the runtime was about to end.
  ready: ["busy", "starting", "backoff", "suspended", "stopping", "stopped", "failed"],
  busy: ["ready", "starting", "backoff", "suspended", "stopping", "stopped", "failed"],
  // Failed: its supervisor has given up.
  backoff: ["starting", "suspended", "stopped", "failed"],
  suspended: ["starting", "stopped", "failed"],
  stopping: ["starting", "suspended", "stopped", "failed"],
  failed: ["starting", "backoff", "suspended"],
}

/** Besides, where a supervisor restarts groups, gives up, and is started anew. */
export const supervisedEdges: Readonly<Record<SessionStatus, ReadonlyArray<SessionStatus>>> = {
  stopped: ["backoff"],
  starting: [],
  authenticating: ["backoff", "suspended"],
  ready: [],
  busy: [],
  backoff: ["failed"],
  suspended: ["backoff", "failed"],
  stopping: ["backoff"],
  failed: ["backoff", "suspended"],
}
