/**
 * How much of one answer is kept to be its `text`: memory stays bounded whatever a child prints. What comes
 * beyond is still streamed, and the turn still ends where the child ends it, but as failed. Used by `Text` and `Ndjson`.
 */
import type { TurnError } from "../domain/Turn.ts"

export const defaultAnswerChars = 16 * 1024 * 1024

export const answerTooLong = (limitChars: number): TurnError => ({
  tag: "AnswerTooLong",
  message: `the answer is longer than ${limitChars} characters; its deltas in the transcript hold it whole`,
  limitChars,
})
