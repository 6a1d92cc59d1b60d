/** What a request of the client fails with: the runtime's own error, or `ConnectionLost` / `NoRuntime` with code 0. */

interface ErrorObject {
  readonly code: number
  readonly message: string
  readonly data?: { readonly tag?: string; readonly detail?: unknown; readonly [field: string]: unknown }
}

export class CrecheError extends Error {
  override readonly name = "CrecheError"
  readonly code: number
  /** The name of the condition, as `SessionNotFound`. */
  readonly tag: string
  /** The tag and the fields that identify what it is about. */
  readonly data: { readonly tag: string; readonly [field: string]: unknown }

  constructor(code: number, message: string, data: { readonly tag: string; readonly [field: string]: unknown }) {
    super(message)
    this.code = code
    this.data = data
    this.tag = data.tag
  }

  static fromWire({ code, message, data = {} }: ErrorObject): CrecheError {
    // The specification fixes the messages of its own errors; what they mean here stands in `detail`.
    const isSpecs = code <= -32600 && code >= -32700 && code !== -32602 && typeof data.detail === "string"
    const text = isSpecs ? `${message}: ${data.method === undefined ? "" : `${data.method}: `}${data.detail}` : message
    return new CrecheError(code, text, { ...data, tag: data.tag ?? "Unknown" })
  }
}
