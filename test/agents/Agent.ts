/** What the suite has to know of a real CLI to put it through its scenes. One file each, listed in `Agents`. */
import { specDefaults, type SessionSpecInput } from "../../src/domain/SessionSpec.ts"

export interface Place {
  /** The CLI's packages are installed in here. */
  readonly directory: string
  /** Where the CLI keeps what it keeps; its HOME. Exists. */
  readonly home: string
  readonly url: string
}

/** What a session passes on of its runtime's environment: the same for a CLI that is driven by hand. */
export const inheritedEnvironment = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    specDefaults.inheritEnv.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  )

/** The CLI without creche, to measure what creche adds: the least that asks it and reads to the end of its answer. */
export interface ByHand {
  readonly ask: (prompt: string) => Promise<void>
  readonly close: () => Promise<void>
}

export interface Agent {
  readonly name: string
  readonly protocol: "claude" | "codex" | "acp"
  /** npm packages with their exact versions; the first is the CLI, whose version names the directory. */
  readonly packages: readonly [string, ...ReadonlyArray<string>]
  /** The program whose presence shows that the install is complete, from its directory. */
  readonly program: string
  /** The mock of its model's API: a program that prints its address. */
  readonly mock: URL
  /** Command, arguments, protocol and environment; must be the same for the same place. */
  readonly spec: (place: Place) => SessionSpecInput
  /** A prompt upon which the agent asks for leave to run the command in its shell. */
  readonly asksToRun: (command: string) => string
  /** A prompt upon which it runs the command in the background, asking for leave; a turn of its own follows when that ended. */
  readonly runsAside?: (command: string) => string
  /** The fields of a session whose agent knows no account, where it can tell before it is asked something. */
  readonly anonymous?: (place: Place) => SessionSpecInput
  /** Scenes of the suite that it cannot play, by their titles, with the reason. */
  readonly cannot: Readonly<Record<string, string>>
  /** Undefined: nobody measures it. */
  readonly byHand?: (place: Place, cwd: string) => Promise<ByHand>
  /** It is put through the suite only where it is named. */
  readonly isByName?: boolean
  /** A prompt upon which it has a file written by its client. */
  readonly writes?: (file: string, text: string) => string
}
