/** Reads Markdown's fences as a renderer would. */

/** The fenced blocks of a document and what stands outside of them, by CommonMark's rules for fences of backticks. */
export const blocksOf = (document: string): { blocks: Array<string>; outside: Array<string>; open: boolean } => {
  const blocks: Array<string> = []
  const outside: Array<string> = []
  let fence: { length: number; lines: Array<string> } | undefined
  // A lone carriage return ends a line as well.
  for (const line of document.split(/\r\n|\n|\r/)) {
    if (fence === undefined) {
      const begin = /^ {0,3}(`{3,})[^`]*$/.exec(line)
      if (begin === null) outside.push(line)
      else fence = { length: begin[1]!.length, lines: [] }
    } else {
      const end = /^ {0,3}(`{3,})[ \t]*$/.exec(line)
      if (end !== null && end[1]!.length >= fence.length) {
        blocks.push(fence.lines.map((each) => `${each}\n`).join(""))
        fence = undefined
      } else fence.lines.push(line)
    }
  }
  return { blocks, outside, open: fence !== undefined }
}
