/** Which store a runtime has: chosen where the runtime is put together. */
import { join } from "node:path"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../domain/Errors.ts"
import * as SupervisorStore from "../domain/SupervisorStore.ts"
import * as TemplateStore from "../domain/TemplateStore.ts"
import type { SessionStore, StoreKind } from "../domain/SessionStore.ts"
import * as MemorySessionStore from "./MemorySessionStore.ts"
import * as SqlStores from "./SqlStores.ts"

/** In the data directory. */
export const databaseName = "creche.db"

export const layer = (
  kind: StoreKind,
  dataDirectory: string,
  /** After each group of commits that became durable: how many, and how long the first of them waited (ms). */
  onGroup?: (commits: number, waitedMs: number) => void,
): Layer.Layer<SessionStore | SupervisorStore.SupervisorStore | TemplateStore.TemplateStore, StoreUnavailable> =>
  kind === "sqlite"
    ? SqlStores.layer({ file: join(dataDirectory, databaseName), ...(onGroup === undefined ? {} : { onGroup }) })
    : Layer.mergeAll(MemorySessionStore.layer, SupervisorStore.layerMemory, TemplateStore.layerMemory)
