/** Which status of a session may follow which, as a transcript tells it. */
import type { SessionStatus } from "../../src/domain/Session.ts"

export const edges: Readonly<Record<SessionStatus, ReadonlyArray<SessionStatus>>> = {
  stopped: ["starting"],
  starting: ["authenticating", "ready", "backoff", "stopping", "suspended", "stopped", "failed"],
  authenticating: ["ready", "starting", "backoff", "stopping", "stopped", "failed"],
  // Suspended: its process ended by itself while the runtime was about to end.
  ready: ["busy", "starting", "backoff", "suspended", "stopping", "stopped", "failed"],
  busy: ["ready", "starting", "backoff", "suspended", "stopping", "stopped", "failed"],
  backoff: ["starting", "suspended", "stopped"],
  suspended: ["starting", "stopped"],
  stopping: ["starting", "suspended", "stopped", "failed"],
  failed: ["starting"],
}
