/**
 * The ordered entries of a session: `seq` counts 1, 2, 3 … without gaps, through every restart.
 * `busy` and `ready` alternate with `turn/started` and `turn/ended` and get no `status` entry of their own.
 */
import type { PermissionOption } from "./Permission.ts"
import type { ExitReason } from "./ExitReason.ts"
import type { SessionId, TurnId } from "./Ids.ts"
import type { Prompt } from "./Prompt.ts"
import type { SessionStatus } from "./Session.ts"
import type { TerminalTurnStatus, TurnError, Usage } from "./Turn.ts"

export type { PermissionOption }

export const transcriptTypes = [
  "status",
  "process/spawned",
  "process/exited",
  "restart/scheduled",
  "turn/queued",
  "turn/started",
  "turn/delta",
  "turn/thought",
  "turn/tool",
  "turn/stalled",
  "turn/ended",
  "permission/requested",
  "permission/resolved",
  "output",
  "native",
  "note",
] as const
export type TranscriptType = (typeof transcriptTypes)[number]

export type TranscriptBody =
  | { readonly type: "status"; readonly status: SessionStatus; readonly detail?: string }
  | { readonly type: "process/spawned"; readonly pid: number; readonly containment: string }
  | {
      readonly type: "process/exited"
      readonly exit: ExitReason
      /** Pids that could not be killed (state D); empty in every ordinary case, then left out. */
      readonly survivors?: ReadonlyArray<number>
    }
  | { readonly type: "restart/scheduled"; readonly delayMs: number; readonly attempt: number }
  | { readonly type: "turn/queued"; readonly prompt: Prompt }
  | { readonly type: "turn/started"; readonly attempt: number }
  | { readonly type: "turn/delta"; readonly text: string }
  | { readonly type: "turn/thought"; readonly text: string }
  | {
      readonly type: "turn/tool"
      readonly toolId: string
      readonly name: string
      readonly input?: unknown
      readonly output?: unknown
      readonly status: string
    }
  | {
      readonly type: "turn/stalled"
      readonly silentMs: number
      readonly reason: "silent" | "working"
      readonly action: string
    }
  | {
      readonly type: "turn/ended"
      readonly status: TerminalTurnStatus
      readonly text: string
      readonly stopReason: string | null
      readonly error?: TurnError
      readonly usage?: Usage
      readonly durationMs: number
    }
  | {
      readonly type: "permission/requested"
      readonly request: string
      readonly tool: string
      readonly input: unknown
      readonly options: ReadonlyArray<PermissionOption>
    }
  | { readonly type: "permission/resolved"; readonly request: string; readonly outcome: string; readonly by: string }
  | { readonly type: "output"; readonly stream: "stdout" | "stderr"; readonly data: string }
  | { readonly type: "native"; readonly message: unknown }
  | { readonly type: "note"; readonly text: string }

export type TranscriptEntry = {
  readonly session: SessionId
  readonly seq: number
  /** Epoch milliseconds; RFC 3339 on the wire. */
  readonly at: number
  readonly incarnation: number
  readonly turn?: TurnId
} & TranscriptBody
