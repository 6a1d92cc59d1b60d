/**
 * Data directories full of suspended sessions, made through the store by a process of its own (`storeSessions.ts`), so
 * that whoever opens one has nothing of the making in its heap.
 */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

const entry = fileURLToPath(new URL("./storeSessions.ts", import.meta.url))

/** In a data directory, as main has it. */
export const databaseName = "creche.db"

export const storedName = (i: number): string => `stored-${i}`

/** Fills `dataDirectory` with suspended sessions of one turn each; with `directories` theirs are there too. */
export const storeSessions = (dataDirectory: string, count: number, directories: boolean): Promise<void> =>
  new Promise((resolve, reject) => {
    const args = ["--disable-warning=ExperimentalWarning", entry, dataDirectory, String(count), String(directories)]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] })
    child.once("error", reject)
    child.once("exit", (code, signal) =>
      code === 0 ? resolve() : reject(new Error(`making ${count} sessions ended with ${signal ?? code}`)),
    )
  })
