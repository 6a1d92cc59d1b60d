/** What must hold, by name, and who keeps count of where it did not. The names stand in docs/simulation.md as well. */

export const rules = {
  "stopped-means-gone":
    "a stop, a removal, a suspension and a shutdown are answered when the tree is empty, or with what survived",
  "never-two": "no process of a session is started before the tree of the one before is empty",
  "ends-once": "every turn that was taken in ends exactly once, with a reason",
  "acknowledged-is-stored": "what a client is told is in the store by then",
  "seq-without-gaps": "the entries of a session count 1, 2, 3 …",
  "entries-in-order":
    "entries come in an order that makes sense: started before ended, nothing of a turn after its end",
  "record-agrees": "the record and the turns of a commit say what the transcript says",
  "answer-is-its-own": "a completed turn has the answer to its own prompt",
  "nobody-delays-another": "a session that is well is answered in time, whatever becomes of others",
  "restart-type": "a temporary child is never restarted, a transient one not after a normal exit",
  "restart-schedule": "a restart waits as long as its schedule says",
  "restart-intensity": "never more restarts in the window than allowed, and nobody gives up before",
  "restart-bucket": "restarts of all sessions together keep to the token bucket",
  "group-order":
    "under a strategy with an order each is gone before the next is told, and up before the next is started",
  "supervisor-limit": "a supervisor restarts its children no more often in its window than it may",
  "no-start-unasked": "what is stopped or failed starts only when a client wants it",
  "mailbox-bound": "no more turns wait than the mailbox holds",
  "admission-bound": "no more sessions are live than there may be",
  "answered-once": "every request is answered once, and none twice",
  "one-bearer-a-name": "of the sessions that are not over with no two have the same name",
  "one-turn-a-key": "one idempotency key means one turn",
  "no-defect": "nothing throws that is not an expected failure",
  "feed-without-gaps": "a subscriber sees every entry once and in order, or is told what it missed",
  "comes-to-rest":
    "once misfortune ends, every request is answered, every turn ends, and no session is on its way for ever",
  "nothing-left": "after a shutdown there is no process, timer, fiber or request",
} as const

export type Rule = keyof typeof rules

export interface Violation {
  readonly rule: Rule
  readonly at: number
  readonly detail: string
}
