// Every command that execa runs in this program is guarded, though execa knows nothing of it: the first import puts
// creche/spawn in the place of Node's spawn. Without it this program waits for the sleep, which holds the shell's output
// open; and a kill -9 of the program leaves the sleep behind.
//
//   npm install creche execa
//   node guarded-execa.mjs
// oxlint-disable-next-line import/no-unassigned-import -- it is there for what it does
import "creche/spawn/register"
import { execa } from "execa"

const { stdout, durationMs } = await execa("sh", ["-c", "sleep 1000 & echo done"])
console.log(stdout, durationMs < 500_000 ? "and nothing left" : "")

const failed = await execa({ reject: false })`sh -c ${"exit 3"}`
console.log("exit code", failed.exitCode)
