/** Which store a runtime has: chosen where the runtime is put together. */
import { join } from "node:path"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../domain/Errors.ts"
import * as TemplateStore from "../domain/TemplateStore.ts"
import type { SessionStore, StoreKind } from "../domain/SessionStore.ts"
import * as MemorySessionStore from "./MemorySessionStore.ts"
import * as SqlStores from "./SqlStores.ts"

/** In the data directory. */
export const databaseName = "creche.db"

export const layer = (
  kind: StoreKind,
  dataDirectory: string,
): Layer.Layer<SessionStore | TemplateStore.TemplateStore, StoreUnavailable> =>
  kind === "sqlite"
    ? SqlStores.layer({ file: join(dataDirectory, databaseName) })
    : Layer.mergeAll(MemorySessionStore.layer, TemplateStore.layerMemory)
