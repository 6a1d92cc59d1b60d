/** Every store of a durable runtime over one SQLite file, which is opened once. For main. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreUnavailable } from "../domain/Errors.ts"
import { SessionStore } from "../domain/SessionStore.ts"
import { SupervisorStore } from "../domain/SupervisorStore.ts"
import { TemplateStore } from "../domain/TemplateStore.ts"
import * as SqlSessionStore from "./SqlSessionStore.ts"
import * as SqlSupervisorStore from "./SqlSupervisorStore.ts"
import * as SqlTemplateStore from "./SqlTemplateStore.ts"

/** Fails as `SqlSessionStore.open` does. */
export const layer = (
  config: SqlSessionStore.SqlSessionStoreConfig,
): Layer.Layer<SessionStore | SupervisorStore | TemplateStore, StoreUnavailable> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const client = yield* SqlSessionStore.open(config)
      const sessions = yield* SqlSessionStore.start(client, config)
      return Context.make(SessionStore, sessions).pipe(
        Context.add(SupervisorStore, SqlSupervisorStore.fromClient(client)),
        Context.add(TemplateStore, SqlTemplateStore.fromClient(client)),
      )
    }),
  )
