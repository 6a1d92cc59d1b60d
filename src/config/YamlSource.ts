/**
 * YAML text as the value it holds, and the line and column of each field in it. Takes only what can be read without
 * surprise: one document, no key twice, no anchors, aliases or tags of its own. Knows nothing of what the file is for.
 */
import { isMap, isScalar, isSeq, parseDocument, type YAMLError, type YAMLMap, type YAMLSeq } from "yaml"
import { deepest } from "../domain/StrictDecoder.ts"

export interface Place {
  /** 1, 2, 3 … */
  readonly line: number
  /** 1, 2, 3 … in UTF-16 code units. */
  readonly column: number
}

export interface PlacedProblem extends Place {
  /** Names and indices joined by dots; empty for the file as a whole. */
  readonly path: string
  /** What is wrong, and what to do about it. */
  readonly message: string
}

export interface YamlSource {
  readonly problems: ReadonlyArray<PlacedProblem>
  /** The file's value; undefined where its shape cannot be told. */
  readonly value: { readonly json: unknown } | undefined
  /** Where a field stands; of one that is not there, where the nearest thing around it stands. */
  readonly placeOf: (path: ReadonlyArray<string>, part?: "key" | "value") => Place
}

/** What the parser says, as what to do. Its own words, where they are plain enough, else. */
const remedies: { readonly [Code in YAMLError["code"]]?: string } = {
  DUPLICATE_KEY: "stands here for the second time; keep one of the two",
  TAB_AS_INDENT: "a tab cannot indent in YAML; use spaces",
  MULTIPLE_DOCS: "a second document begins here (---); keep one",
  BAD_DIRECTIVE: "directives (%) are not read here; take it out",
  TAG_RESOLVE_FAILED: "tags (!) are not read here; take it out",
  BLOCK_AS_IMPLICIT_KEY:
    "a value holds no second `name: value` on its line; put it on a line of its own, or in quotes if it is text",
  BAD_SCALAR_START: "a text cannot begin with this character; put it in quotes",
}

const noAnchors = "anchors and aliases (&, *) are not read here; write it out, or let a template extend another"

const keyOf = (path: ReadonlyArray<string>): string => JSON.stringify(path)

interface Offsets {
  readonly key: number
  readonly value: number
}

/** From offsets to places. The parser's own line counter misses lines after a mistake, which is when it is needed. */
const placesOf = (text: string): ((offset: number) => Place) => {
  const starts = [text.startsWith("\uFEFF") ? 1 : 0]
  for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", end + 1)) starts.push(end + 1)
  return (offset) => {
    const within = Math.min(Math.max(offset, starts[0]!), text.length)
    let line = starts.length
    let low = 0
    while (low < line - 1) {
      const middle = (low + line) >> 1
      if (starts[middle]! <= within) low = middle
      else line = middle
    }
    return { line: low + 1, column: within - starts[low]! + 1 }
  }
}

export const readYaml = (text: string): YamlSource => {
  const document = parseDocument(text, { prettyErrors: false })
  const at = placesOf(text)
  const offsets = new Map<string, Offsets>([[keyOf([]), { key: 0, value: 0 }]])
  const problems: Array<PlacedProblem> = []
  let isReadable = true

  const say = (offset: number, path: ReadonlyArray<string>, message: string) =>
    void problems.push({ ...at(offset), path: path.join("."), message })
  const place = (path: ReadonlyArray<string>, key: number, node: unknown) => {
    const start = (node as { range?: readonly [number, number, number] | null } | null)?.range?.[0] ?? key
    // A block that begins on the next line is found by its name.
    const value = isMap(node) || isSeq(node) ? (node.flow === true ? start : key) : start
    if (!offsets.has(keyOf(path))) offsets.set(keyOf(path), { key, value: value < key ? key : value })
    walk(node, path)
  }
  const walk = (node: unknown, path: ReadonlyArray<string>): void => {
    if (path.length > deepest) {
      if (isReadable)
        say(offsets.get(keyOf(path))?.key ?? 0, path.slice(0, 3), `is nested more than ${deepest} levels deep`)
      isReadable = false
      return
    }
    const { range, anchor, source } = (node ?? {}) as { range?: readonly [number]; anchor?: string; source?: string }
    if (anchor !== undefined) say(range?.[0] ?? 0, path, noAnchors)
    if (isMap(node)) walkMap(node, path)
    else if (isSeq(node)) walkSeq(node, path)
    else if (node !== null && !isScalar(node)) {
      // An alias: what it stands for may be as large as it likes.
      if (source !== undefined) say(range?.[0] ?? 0, path, noAnchors)
      isReadable = false
    }
  }
  const walkMap = (map: YAMLMap, path: ReadonlyArray<string>) => {
    for (const { key, value } of map.items) {
      const start = (key as { range?: readonly [number] } | null)?.range?.[0] ?? map.range?.[0] ?? 0
      if (!isScalar(key)) {
        say(start, path, "a name must be plain text, not a list or a mapping")
        isReadable = false
        continue
      }
      place([...path, key.value === null ? "" : String(key.value)], start, value)
    }
  }
  const walkSeq = (seq: YAMLSeq, path: ReadonlyArray<string>) => {
    seq.items.forEach((item, index) => {
      const start = (item as { range?: readonly [number] | null } | null)?.range?.[0] ?? seq.range?.[0] ?? 0
      place([...path, String(index)], start, item)
    })
  }
  walk(document.contents, [])

  /** The field that an offset belongs to: the last one that begins at or before it on its line. */
  const fieldAt = (offset: number, own: ReadonlyArray<readonly [string, Offsets]>): ReadonlyArray<string> => {
    let found: readonly [string, number] = ["[]", 0]
    for (const [path, { key }] of own) if (key <= offset && key >= found[1]) found = [path, key]
    return at(found[1]).line === at(offset).line ? (JSON.parse(found[0]) as ReadonlyArray<string>) : []
  }
  const known = [...offsets]
  for (const { code, pos, message } of [...document.errors, ...document.warnings]) {
    const path = code === "DUPLICATE_KEY" ? [...pathOfDuplicate(document.contents, pos[0])] : fieldAt(pos[0], known)
    say(pos[0], path, remedies[code] ?? `is not YAML: ${message.charAt(0).toLowerCase()}${message.slice(1)}`)
    if (code !== "DUPLICATE_KEY" && code !== "TAG_RESOLVE_FAILED") isReadable = false
  }
  return {
    problems,
    value: isReadable ? { json: document.toJS({ maxAliasCount: 0 }) as unknown } : undefined,
    placeOf: (path, part = "value") => {
      for (let length = path.length; length > 0; length--) {
        const found = offsets.get(keyOf(path.slice(0, length)))
        if (found !== undefined) return at(length === path.length ? found[part] : found.key)
      }
      return at(0)
    },
  }
}

/** The first of two keys is the one that is known by its path; the second is found by where it stands. */
const pathOfDuplicate = (node: unknown, offset: number): ReadonlyArray<string> => {
  const items: ReadonlyArray<readonly [string, number, unknown]> = isMap(node)
    ? node.items.map(({ key, value }) => [
        isScalar(key) ? String(key.value) : "",
        (key as { range?: readonly [number] } | null)?.range?.[0] ?? -1,
        value,
      ])
    : isSeq(node)
      ? node.items.map((item, index) => [String(index), -1, item])
      : []
  for (const [name, start, value] of items) {
    if (start === offset) return [name]
    const { range } = (value ?? {}) as { range?: readonly [number, number, number] | null }
    if (range && range[0] <= offset && offset < range[2]) return [name, ...pathOfDuplicate(value, offset)]
  }
  return []
}
