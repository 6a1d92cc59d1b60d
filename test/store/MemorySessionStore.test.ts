import * as MemorySessionStore from "../../src/store/MemorySessionStore.ts"
import { suite } from "../contracts/SessionStoreSuite.ts"

suite("in memory", MemorySessionStore.layer)
