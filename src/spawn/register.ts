/**
 * `import "creche/spawn/register"`, or `node --import creche/spawn/register`: from then on `spawn` of node:child_process is the
 * guarded one, also in libraries that import it by name. `exec`, `execFile` and `fork` stay Node's own.
 */
import childProcess from "node:child_process"
import { syncBuiltinESMExports } from "node:module"
import { spawn } from "./Spawn.ts"

childProcess.spawn = spawn
syncBuiltinESMExports()
