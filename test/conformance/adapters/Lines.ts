/** A carrier over a pair of byte streams: a message a line. */
import type { Readable, Writable } from "node:stream"
import type { Carrier } from "./JsonRpcPeer.ts"

/** Takes every whole line of a stream. */
export const onLines = (readable: Readable, take: (line: string) => void): void => {
  let held: Array<string> = []
  readable.setEncoding("utf8")
  readable.on("data", (chunk: string) => {
    const lines = chunk.split("\n")
    // Joined once, however many chunks a long line has.
    if (lines.length > 1) {
      take([...held, lines[0]].join(""))
      held = []
      for (const line of lines.slice(1, -1)) take(line)
    }
    held.push(lines.at(-1)!)
  })
}

export const lineCarrier = (readable: Readable, writable: Writable, destroy: () => Promise<void>): Carrier => ({
  send: (text) => void writable.write(`${text}\n`),
  onMessage: (take) => onLines(readable, take),
  onClose: (gone) => {
    readable.once("close", () => gone())
    readable.on("error", () => {})
    writable.on("error", () => {})
  },
  destroy,
})
