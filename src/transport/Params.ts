/**
 * Decodes the params of a method by the contract: every problem at once, each with its path and what to do
 * about it (`domain/StrictDecoder` words them). Called by the dispatcher.
 */
import { InvalidParams } from "../domain/Errors.ts"
import { deepest, isShallow, strictDecoder } from "../domain/StrictDecoder.ts"
import { contract, type Method, methods, type Params } from "./Contract.ts"

/** The params, or what is wrong with them. Absent params are `{}`. */
export type DecodeParams<A> = (params: unknown) => A | InvalidParams

const compile = (method: Method): DecodeParams<unknown> => {
  const { decode, fields } = strictDecoder<unknown>(contract[method].params)
  const some = `${fields.slice(0, 4).join(", ")}${fields.length > 4 ? ", …" : ""}`
  const byName = `params of ${method} are given by name: {${some}}`
  return (params) => {
    if (Array.isArray(params)) return new InvalidParams({ issues: [{ path: "", message: byName }] })
    const given = params ?? {}
    if (!isShallow(given)) {
      return new InvalidParams({ issues: [{ path: "", message: `params may be nested ${deepest} levels deep` }] })
    }
    // An empty Struct takes any value.
    const excess = fields.length === 0 ? Object.keys(given) : []
    if (excess.length > 0) {
      return new InvalidParams({
        issues: excess.map((path) => ({ path, message: `is not a known field; ${method} takes none` })),
      })
    }
    const decoded = decode(given)
    return decoded._tag === "Valid"
      ? decoded.value
      : new InvalidParams({
          issues: decoded.problems.map(({ path, message }) => ({ path: path.join("."), message })),
        })
  }
}

/**
 * A session and a text, and nothing besides: what nearly every turn is. That it fits needs no walk through the contract, which costs
 * an ask in process a seventh of its time; a test holds the two together.
 */
export const isPlainTurn = (params: unknown): params is { readonly session: string; readonly prompt: string } => {
  if (typeof params !== "object" || params === null) return false
  const { session, prompt } = params as { readonly session?: unknown; readonly prompt?: unknown }
  if (typeof session !== "string" || session === "" || typeof prompt !== "string") return false
  for (const key in params) if (key !== "session" && key !== "prompt") return false
  return true
}

const compiled = (method: Method): DecodeParams<unknown> => {
  const decode = compile(method)
  const isTurn = method === "session/ask" || method === "session/tell"
  return isTurn ? (params) => (isPlainTurn(params) ? params : decode(params)) : decode
}

/** One compiled decoder for each method. */
export const decoders = Object.fromEntries(methods.map((method) => [method, compiled(method)])) as {
  readonly [M in Method]: DecodeParams<Params<M>>
}
