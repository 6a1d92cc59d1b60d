/**
 * HTTP/1.1 on one connection that is kept, one request after the other, with as little of a client as will do: what is
 * measured is the server. Answers have a Content-Length, or are events of which the last one counts.
 */
import { connect, type Socket } from "node:net"

export class RawHttp {
  readonly #socket: Socket
  readonly #host: string
  #text = ""
  #answered: (body: string) => void = () => {}

  private constructor(socket: Socket, host: string) {
    this.#socket = socket
    this.#host = host
    socket.setNoDelay(true)
    socket.setEncoding("latin1")
    socket.on("data", (chunk: string) => this.#take(chunk))
    socket.on("error", () => {})
  }

  static open(url: string): Promise<RawHttp> {
    const { hostname, port, host } = new URL(url)
    return new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port) })
      socket.once("error", reject)
      socket.once("connect", () => resolve(new RawHttp(socket, host)))
    })
  }

  /** The body, and the headers before it. */
  post(path: string, body: string, headers = ""): Promise<{ readonly head: string; readonly body: string }> {
    return new Promise((resolve) => {
      this.#answered = (text) => {
        const at = text.indexOf("\r\n\r\n")
        resolve({ head: text.slice(0, at), body: text.slice(at + 4) })
      }
      this.#socket.write(
        `POST ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: application/json\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #take(chunk: string): void {
    this.#text += chunk
    const at = this.#text.indexOf("\r\n\r\n")
    if (at < 0) return
    const head = this.#text.slice(0, at)
    const length = /^content-length: (\d+)/im.exec(head)?.[1]
    const isWhole =
      length === undefined
        ? /^transfer-encoding: chunked/im.test(head) && this.#text.endsWith("0\r\n\r\n")
        : this.#text.length >= at + 4 + Number(length)
    if (!isWhole) return
    const text = this.#text
    this.#text = ""
    this.#answered(text)
  }
}
