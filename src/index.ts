/**
 * The library: a runtime in your own process. `openRuntime` for promises; the `Runtime` service and `runtimeLayer` for
 * programs on Effect. Importing this starts nothing.
 */
export * from "./domain/Errors.ts"
export type { ExitReason } from "./domain/ExitReason.ts"
export type { SessionId, TurnId } from "./domain/Ids.ts"
export type { ContentBlock, Prompt } from "./domain/Prompt.ts"
export type { Containment, Death, Session, SessionStatus, TurnCounts } from "./domain/Session.ts"
export { specDefaults, type SessionSpec, type SessionSpecInput, type Signal } from "./domain/SessionSpec.ts"
export type { Commit, TranscriptPage, TranscriptQuery } from "./domain/SessionStore.ts"
export type { Persona, Template } from "./domain/Template.ts"
export type { TranscriptBody, TranscriptEntry, TranscriptType } from "./domain/Transcript.ts"
export type { Turn, TurnError, TurnStatus, Usage } from "./domain/Turn.ts"
export { openRuntime, type EmbeddedRuntime, type OpenOptions, type TurnOptions } from "./EmbeddedRuntime.ts"
export { demoSpec } from "./demo/spec.ts"
export { runtimeLayer } from "./main.ts"
export { NotInWorker } from "./process/MainThread.ts"
export type { NamedTemplate, TemplateSource } from "./supervisor/Templates.ts"
export {
  Runtime,
  type ListQuery,
  type RuntimeHealth,
  type RuntimeInfo,
  type RuntimeStats,
  type SubscribeRequest,
  type Subscription,
  type SubscriptionBatch,
  type TreeNode,
  type TurnRequest,
} from "./supervisor/Runtime.ts"
