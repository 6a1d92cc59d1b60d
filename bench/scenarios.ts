/** Every measurement there is, in the order in which they run. Loads nothing of creche: the sides do that themselves. */
import { askOverSocket } from "./AskOverSocket.ts"
import { askRoundTrip } from "./AskRoundTrip.ts"
import { askOverTransports } from "./AskOverTransports.ts"
import { cliStart } from "./CliStart.ts"
import { durableBytes } from "./DurableBytes.ts"
import { durableSessions } from "./DurableSessions.ts"
import { durableTurns } from "./DurableTurns.ts"
import { guardedSpawn } from "./GuardedSpawn.ts"
import { killToRunning } from "./KillToRunning.ts"
import { levels } from "./Levels.ts"
import type { Measurement } from "./Measurement.ts"
import { outputLines } from "./OutputLines.ts"
import { parallelSessions } from "./ParallelSessions.ts"
import { sessionMemory } from "./SessionMemory.ts"
import { spawnToReady } from "./SpawnToReady.ts"

export const measurements: ReadonlyArray<Measurement> = [
  ...askRoundTrip,
  ...parallelSessions,
  ...outputLines,
  ...askOverSocket,
  ...askOverTransports,
  ...spawnToReady,
  ...killToRunning,
  ...sessionMemory,
  ...levels,
  ...guardedSpawn,
  ...cliStart,
  ...durableTurns,
  ...durableSessions,
  ...durableBytes,
]
