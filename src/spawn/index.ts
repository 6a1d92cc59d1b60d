/** `creche/spawn`: Node's `spawn` with guarded children. See docs/guard.md. */
export type { SpawnContainment } from "./Containment.ts"
export { spawn, type GuardedSpawn } from "./Spawn.ts"
export type { GuardOptions } from "./SpawnCall.ts"
