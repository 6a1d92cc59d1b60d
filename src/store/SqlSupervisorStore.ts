/** The supervisors that clients started, in the same file as the sessions: a row each, written at once. They are few. */
import type { SupervisorRecord, SupervisorStore } from "../domain/SupervisorStore.ts"
import type { SqliteClient } from "./SqliteClient.ts"

/** Over an open file that is migrated already. */
export const fromClient = (client: SqliteClient): SupervisorStore["Service"] => {
  const { attempt, exclusively, prepare, transaction } = client
  return {
    supervisors: attempt(() =>
      prepare("SELECT record FROM supervisors ORDER BY ordinal")
        .all()
        .map((row) => JSON.parse(row["record"] as string) as SupervisorRecord),
    ),
    put: (record) =>
      exclusively(() =>
        transaction(
          () =>
            void prepare(
              "INSERT INTO supervisors (path, record) VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET record = excluded.record",
            ).run(record.path, JSON.stringify(record)),
        ),
      ),
    remove: (paths) =>
      exclusively(() =>
        transaction(() => {
          for (const path of paths) prepare("DELETE FROM supervisors WHERE path = ?").run(path)
        }),
      ),
  }
}
