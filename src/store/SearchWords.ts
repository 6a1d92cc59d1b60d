/**
 * What a search asks for, for every store alike: words without case and accents, all of which must occur. Whatever a
 * caller types is words and separators; nothing of it reaches a query language.
 */
import { searchedText } from "../domain/PromptText.ts"
import type { Turn } from "../domain/Turn.ts"

export interface SearchWord {
  /** Letters, digits and marks alone. */
  readonly text: string
  readonly prefix: boolean
}

/** So many words are enough; a query is not a place to keep a novel. */
const maxWords = 32
const word = /[\p{L}\p{N}\p{M}\p{Co}]+/gu
const ascii = /^[\0-\x7f]*$/
const queryWord = /([\p{L}\p{N}\p{M}\p{Co}]+)(\*?)/gu

const fold = (text: string): string => text.toLowerCase().normalize("NFD").replaceAll(/\p{M}/gu, "")

/** The words of a text, folded, for an index that takes every sign beyond ASCII for a letter. */
export const toIndex = (text: string): string =>
  ascii.test(text) ? text.toLowerCase() : (text.match(word) ?? []).map(fold).join(" ")

export const parseQuery = (query: string): ReadonlyArray<SearchWord> => {
  const words: Array<SearchWord> = []
  for (const [, text, star] of query.matchAll(queryWord)) {
    const folded = fold(text!)
    if (folded !== "") words.push({ text: folded, prefix: star === "*" })
    if (words.length === maxWords) break
  }
  return words
}

const matchesWord = ({ text, prefix }: SearchWord, candidate: string): boolean =>
  prefix ? candidate.startsWith(text) : candidate === text

const wordsOf = (text: string): ReadonlyArray<string> => (text.match(word) ?? []).map(fold)

/** Whether every word occurs in the prompt or in the answer. */
export const matches = (words: ReadonlyArray<SearchWord>, turn: Turn): boolean => {
  const candidates = new Set([...wordsOf(searchedText(turn.prompt)), ...wordsOf(turn.text)])
  return words.every((wanted) =>
    wanted.prefix ? [...candidates].some((candidate) => matchesWord(wanted, candidate)) : candidates.has(wanted.text),
  )
}

const before = 60
const length = 200

/** The text around the first word that was found, in the answer if it has one, else in the prompt. */
export const snippetOf = (words: ReadonlyArray<SearchWord>, turn: Turn): string => {
  const prompt = searchedText(turn.prompt)
  for (const text of [turn.text, prompt]) {
    for (const found of text.matchAll(word)) {
      const folded = fold(found[0])
      if (words.some((wanted) => matchesWord(wanted, folded))) return excerpt(text, found.index)
    }
  }
  return excerpt(prompt, 0)
}

const excerpt = (text: string, at: number): string => {
  const from = Math.max(0, at - before)
  const to = Math.min(text.length, from + length)
  // Never half of a surrogate pair.
  const part = text.slice(from, to).toWellFormed().replaceAll("\uFFFD", "").replaceAll(/\s+/g, " ").trim()
  return `${from > 0 ? "…" : ""}${part}${to < text.length ? "…" : ""}`
}
