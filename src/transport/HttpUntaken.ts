/** Cuts off a peer that takes nothing of its answer: node itself would keep it for ever. Called by the HTTP server for every response. */
import type { ServerResponse } from "node:http"

/** From the end of the answer on, some of it has to be taken every `stalledMs`. */
export const cutUntaken = (response: ServerResponse, stalledMs: number): void => {
  let timer: NodeJS.Timeout | undefined
  const end = response.end.bind(response) as (...args: ReadonlyArray<unknown>) => ServerResponse
  response.end = ((...args: ReadonlyArray<unknown>) => {
    const ended = end(...args)
    const { socket } = response
    if (socket === null || socket.writableLength === 0) return ended
    let left = socket.writableLength
    const look = () => {
      if (socket.writableLength >= left) return socket.destroy()
      left = socket.writableLength
      timer = setTimeout(look, stalledMs)
    }
    timer = setTimeout(look, stalledMs)
    return ended
  }) as typeof response.end
  response.once("finish", () => clearTimeout(timer))
  response.once("close", () => clearTimeout(timer))
}
