/**
 * What a child asks its host to do for it, as data: the protocol says it in an event, the session actor has it done and
 * steps the protocol with how it went. So protocols stay without I/O. Files are all there is; whoever adds another adds a case.
 */

export type HostCall =
  /** A text file, or of it `limit` lines from the line `line` (from 1); null: from the first, and all of them. */
  | {
      readonly type: "readTextFile"
      /** Absolute; nothing outside of it is touched, however the path gets there. */
      readonly root: string
      /** Absolute. */
      readonly path: string
      readonly line: number | null
      readonly limit: number | null
    }
  /** The file is made or replaced as a whole, and the directories that it lacks are made. */
  | { readonly type: "writeTextFile"; readonly root: string; readonly path: string; readonly content: string }

/** How a call went. `denied`: by a rule, or by whoever was asked; `message` stands behind the path. */
export type HostAnswer =
  | { readonly type: "done"; readonly text: string }
  | {
      readonly type: "refused"
      readonly reason: "missing" | "outside" | "tooLarge" | "denied" | "failed"
      readonly message: string
    }
