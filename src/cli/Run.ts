/** What each file in commands/ exports as `run`: does the command, resolves with its exit code, throws a `CommandFailure`. */
import type { CommandName, Invocation } from "./Commands.ts"
import type { ExitCode, Io } from "./Io.ts"

export type Run<N extends CommandName> = (call: Invocation<N>, io: Io) => Promise<ExitCode>
