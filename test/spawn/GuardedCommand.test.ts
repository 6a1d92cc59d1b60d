import { findPerlGuard } from "../../src/process/PerlGuard.ts"
import { guardedCommandSuite } from "../contracts/guardedCommandSuite.ts"
import { noTree } from "../process/SpawnerBench.ts"
import { guard } from "./GuardedCommand.ts"

const perl = findPerlGuard()

guardedCommandSuite("native", guard, noTree)
guardedCommandSuite("perl", perl.found ? perl.script : "", perl.found ? "" : `skipped, ${perl.detail}`)
