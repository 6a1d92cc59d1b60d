/**
 * How a spec becomes text and text a spec again. What belongs to one session alone stands apart, so that the sessions of
 * one template have one text in common: it is parsed once, and what was parsed is shared among them. A spec that was
 * written before a field existed gets that field's default. Called where rows are written and read.
 */
import { specDefaults, type SessionSpec } from "../domain/SessionSpec.ts"

type Json = Readonly<Record<string, unknown>>

export interface SpecText {
  /** What sessions have in common. */
  readonly shared: string
  /** Name, task, tags, metadata. */
  readonly own: string
}

export const encodeSpec = (spec: SessionSpec): SpecText => {
  const { name, task, tags, metadata, ...shared } = spec
  return { shared: JSON.stringify(shared), own: JSON.stringify({ name, task, tags, metadata }) }
}

const isRecord = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

/** The default itself where the text says the same. */
const withDefault = (value: unknown, ofDefault: unknown): unknown => {
  const whole = isRecord(value) && isRecord(ofDefault) ? { ...ofDefault, ...value } : value
  return JSON.stringify(whole) === JSON.stringify(ofDefault) ? ofDefault : whole
}

const parse = (text: string): Json => {
  const parsed = JSON.parse(text) as Json
  const spec: Record<string, unknown> = { ...specDefaults, ...parsed }
  for (const [key, ofDefault] of Object.entries(specDefaults)) spec[key] = withDefault(spec[key], ofDefault)
  return spec
}

/** Specs that were read lately, by their text. */
const maxKept = 256
const kept = new Map<string, Json>()

const sharedOf = (text: string): Json => {
  let spec = kept.get(text)
  if (spec === undefined) {
    if (kept.size >= maxKept) kept.delete(kept.keys().next().value!)
    kept.set(text, (spec = parse(text)))
  }
  return spec
}

export const decodeSpec = (shared: string, own: string): SessionSpec => {
  const { name, task, tags, metadata } = JSON.parse(own) as Partial<SessionSpec>
  return {
    ...sharedOf(shared),
    name,
    task: task ?? specDefaults.task,
    tags: tags === undefined || Object.keys(tags).length === 0 ? specDefaults.tags : tags,
    metadata: metadata ?? specDefaults.metadata,
  } as SessionSpec
}
