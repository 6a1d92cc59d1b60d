/**
 * The templates that clients put, in the same file as the sessions: a row each, written at once. They are few and read
 * with every start of a session, so they are also kept in memory as they were last read or written.
 */
import * as Effect from "effect/Effect"
import type { StoreUnavailable } from "../domain/Errors.ts"
import type { Template } from "../domain/Template.ts"
import type { TemplateStore } from "../domain/TemplateStore.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Over an open file that is migrated already, and that nobody else writes templates into. */
export const fromClient = (client: SqliteClient): TemplateStore["Service"] => {
  const { attempt, exclusively, prepare, transaction } = client
  let known: ReadonlyMap<string, Template> | undefined

  const read = (): ReadonlyMap<string, Template> => {
    const rows = prepare("SELECT name, template FROM templates ORDER BY name").all()
    return new Map(rows.map((row) => [row["name"] as string, JSON.parse(row["template"] as string) as Template]))
  }
  /** What was handed out before stays as it was. */
  const change = (
    write: () => void,
    apply: (to: Map<string, Template>) => void,
  ): Effect.Effect<void, StoreUnavailable> =>
    exclusively(() => {
      const next = new Map(known ?? read())
      transaction(write)
      apply(next)
      known = next
    })

  return {
    templates: attempt(() => (known ??= read())),
    put: (name, template) =>
      Effect.suspend(() => {
        const json = JSON.stringify(template)
        return change(
          () =>
            void prepare(
              "INSERT INTO templates (name, template) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET template = excluded.template",
            ).run(name, json),
          // As it will be read: a caller may change what it gave.
          (to) => void to.set(name, JSON.parse(json) as Template),
        )
      }),
    remove: (name) =>
      change(
        () => void prepare("DELETE FROM templates WHERE name = ?").run(name),
        (to) => void to.delete(name),
      ),
  }
}
