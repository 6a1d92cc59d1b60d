/** What an agent asks leave for, and how rules answer: data and pure decisions. Who waits for an answer is the actor's business. */
import type { TurnId } from "./Ids.ts"
import type { PermissionsSpec } from "./SessionSpec.ts"

export interface PermissionOption {
  readonly id: string
  readonly name: string
  readonly kind: string
}

/** A request that waits for its answer. Times are epoch milliseconds here, RFC 3339 on the wire. */
export interface PendingRequest {
  /** Unique within the session. */
  readonly request: string
  /** The turn that it belongs to; null outside of one. */
  readonly turn: TurnId | null
  readonly tool: string
  readonly input: unknown
  readonly options: ReadonlyArray<PermissionOption>
  readonly requestedAt: number
  /** Then `onTimeout` answers it. */
  readonly expiresAt: number
  /** Of its `permission/requested` entry. */
  readonly seq: number
}

export type PermissionDecision = "allow" | "deny" | "ask"

/** `*` stands for any text; everything else for itself. */
const matchesPattern = (pattern: string, text: string): boolean => {
  const [first = "", ...rest] = pattern.split("*")
  if (rest.length === 0) return text === pattern
  if (!text.startsWith(first)) return false
  const last = rest.pop()!
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found < 0) return false
    at = found + part.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}

/** The value at a path such as `file.path`; text as it is, anything else as JSON. */
const textAt = (input: unknown, path: string): string | undefined => {
  let value = input
  for (const key of path === "" ? [] : path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[key]
  }
  return typeof value === "string" ? value : JSON.stringify(value)
}

/** What the first rule that fits says; undefined: none does. */
export const decisionByRule = (
  { rules }: Pick<PermissionsSpec, "rules">,
  tool: string,
  input: unknown,
): PermissionDecision | undefined =>
  rules.find(
    ({ tool: pattern, input: wanted = {} }) =>
      matchesPattern(pattern, tool) &&
      Object.entries(wanted).every(([path, value]) => {
        const text = textAt(input, path)
        return text !== undefined && matchesPattern(value, text)
      }),
  )?.decision

/** The first rule that fits decides; without one, `default`. */
export const decidePermission = (permissions: PermissionsSpec, tool: string, input: unknown): PermissionDecision =>
  decisionByRule(permissions, tool, input) ?? permissions.default

const kinds: Readonly<Record<string, ReadonlyArray<string>>> = {
  allow: ["allow_once", "allow_always"],
  allow_always: ["allow_always", "allow_once"],
  deny: ["reject_once", "reject_always"],
}

/** The option that an outcome means: one of its own id, or the first of its kind. */
export const optionFor = (options: ReadonlyArray<PermissionOption>, outcome: string): PermissionOption | undefined => {
  const own = options.find(({ id }) => id === outcome)
  if (own !== undefined) return own
  for (const wanted of kinds[outcome] ?? []) {
    const found = options.find(({ kind }) => kind === wanted)
    if (found !== undefined) return found
  }
  return undefined
}
