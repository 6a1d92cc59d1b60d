/**
 * What the demo agent knows of one conversation: what it was told to remember, and its prompts. Kept in a file of its own,
 * one JSON value a line, so that another process can go on with the conversation by its id alone: the id is the file's
 * path. The file stands in a directory that the session owns, and goes with it; without one nothing is kept.
 */
import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs"
import { basename, dirname, isAbsolute, join, resolve } from "node:path"

/** The newest prompts that are known, and how much of each. */
const mostPrompts = 1000
const promptChars = 1000
/** A file of more is written anew when a conversation is gone on with. */
const mostLines = 4 * mostPrompts

const fileName = /^demo-[0-9a-f]{16}\.jsonl$/

/** DEMO_MEMORY, else the working directory or the temporary one: the one that has the session's name is its own. */
export const ownDirectory = (env: NodeJS.ProcessEnv, cwd: string): string | null => {
  const { DEMO_MEMORY: named, CRECHE_SESSION: session, TMPDIR: temporary = "" } = env
  if (named) return resolve(cwd, named)
  const own = session ? [cwd, temporary].find((path) => isAbsolute(path) && basename(path) === session) : undefined
  return own ?? null
}

const fileOf = (id: string): string | undefined => {
  const path = Buffer.from(id, "base64url").toString()
  return fileName.test(basename(path)) && (isAbsolute(path) || basename(path) === path) ? path : undefined
}

type Entry = { readonly prompt: string } | { readonly key: string; readonly text: string }

/** undefined: a line that a full disk cut short. */
const entryOf = (line: string): Entry | undefined => {
  try {
    const { prompt, key, text } = JSON.parse(line)
    if (typeof prompt === "string") return { prompt }
    return typeof key === "string" && typeof text === "string" ? { key, text } : undefined
  } catch {
    return undefined
  }
}

const idOf = (path: string): string => Buffer.from(path).toString("base64url")

export class Memory {
  /** The conversation's id: letters, digits, `-` and `_`. */
  readonly id: string
  readonly #path: string
  readonly #remembered = new Map<string, string>()
  #prompts: Array<string> = []
  /** Of the file, once it is written to. */
  #descriptor: number | null = null

  private constructor(id: string, path: string) {
    this.id = id
    this.#path = path
  }

  /** A new conversation. The file is made when there is something to keep. */
  static begin(directory: string | null): Memory {
    const name = `demo-${randomBytes(8).toString("hex")}.jsonl`
    const path = directory === null ? name : join(directory, name)
    return new Memory(idOf(path), path)
  }

  /** The conversation of this id; one of which nothing was kept is empty. Undefined: no id of a conversation. */
  static resume(id: string, directory: string | null): Memory | undefined {
    const told = fileOf(id)
    if (told === undefined) return undefined
    const name = basename(told)
    // Beside this process first: the data directory may have been moved, or copied, since the id was given.
    const near = directory === null ? [] : [join(directory, name), join(directory, "..", basename(dirname(told)), name)]
    const path = [...near, told].find((place) => isAbsolute(place) && existsSync(place))
    const memory = new Memory(id, path ?? near[0] ?? name)
    if (path !== undefined) memory.#load()
    return memory
  }

  /** A new conversation that begins with what this one knows; this one stays as it is. */
  fork(directory: string | null): Memory {
    const forked = Memory.begin(directory)
    for (const [key, text] of this.#remembered) forked.#remembered.set(key, text)
    forked.#prompts = [...this.#prompts]
    if (forked.#remembered.size > 0 || forked.#prompts.length > 0) forked.#rewrite()
    return forked
  }

  recall(key: string): string | undefined {
    return this.#remembered.get(key)
  }

  /** Oldest first. */
  get prompts(): ReadonlyArray<string> {
    return this.#prompts
  }

  /** Kept when it returns: the death of the process loses nothing then. Throws what the operating system says. */
  remember(key: string, text: string): void {
    this.#append({ key, text })
    this.#remembered.set(key, text)
  }

  /** The same; where it throws the prompt is known to this process all the same. */
  heard(prompt: string): void {
    const cut = prompt.slice(0, promptChars)
    this.#listen(cut)
    this.#append({ prompt: cut })
  }

  #listen(prompt: string): void {
    this.#prompts.push(prompt)
    if (this.#prompts.length >= 2 * mostPrompts) this.#prompts = this.#prompts.slice(-mostPrompts)
  }

  #append(entry: object): void {
    if (!isAbsolute(this.#path)) return
    if (this.#descriptor === null) {
      this.#makeDirectory()
      this.#descriptor = openSync(this.#path, "a", 0o600)
    }
    writeSync(this.#descriptor, JSON.stringify(entry) + "\n")
  }

  #makeDirectory(): void {
    const directory = dirname(this.#path)
    // Not recursively: below /proc that would never return.
    if (!existsSync(directory)) mkdirSync(directory, 0o700)
  }

  #load(): void {
    const lines = readFileSync(this.#path, "utf8").split("\n")
    // What follows the last line break was cut short, and belongs to a turn that was not answered.
    const rest = lines.pop()
    for (const line of lines) {
      const entry = entryOf(line)
      if (entry === undefined) continue
      if ("prompt" in entry) this.#listen(entry.prompt)
      else this.#remembered.set(entry.key, entry.text)
    }
    if (rest === "" && lines.length <= mostLines) return
    try {
      this.#rewrite()
    } catch {
      // What is known is known; the next entry will say what is wrong.
    }
  }

  /** The whole file anew, in one step: it may be read by a fork at any time. */
  #rewrite(): void {
    if (!isAbsolute(this.#path)) return
    const remembered = [...this.#remembered].map(([key, text]) => ({ key, text }))
    const entries = [...remembered, ...this.#prompts.map((prompt) => ({ prompt }))]
    this.#makeDirectory()
    writeFileSync(`${this.#path}.new`, entries.map((entry) => JSON.stringify(entry) + "\n").join(""), { mode: 0o600 })
    renameSync(`${this.#path}.new`, this.#path)
  }
}
