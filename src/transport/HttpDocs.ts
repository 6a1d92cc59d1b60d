/**
 * What HTTP says of itself, to anybody who reaches it: the OpenAPI document, a page for people that needs no script, and the
 * same as a reference to browse and try out (Scalar). All are made from the routes and the contract, and fetch nothing from
 * elsewhere. Holds nothing of this runtime's sessions. Called by the HTTP server.
 */
import * as Effect from "effect/Effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { contract, type Method } from "./Contract.ts"
import { needs } from "./HttpAccess.ts"
import { answerProblem, answerTagged } from "./HttpAnswer.ts"
import { routes } from "./HttpRoutes.ts"
import { internal } from "./Problem.ts"

interface Document {
  readonly text: string
  readonly contentType: string
  /** What the page may do in a browser; nothing from elsewhere. */
  readonly policy: string
}

const still = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
/** The reference is one script in its page, which asks this server alone. */
const scripted =
  "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

const documents: Readonly<Record<string, (version: string) => Effect.Effect<Document>>> = {
  "/openapi.json": (version) =>
    Effect.promise(() => import("./HttpOpenApi.ts")).pipe(
      Effect.map(({ openApi }) => JSON.stringify(openApi(version))),
      Effect.map((text) => ({ text, contentType: "application/json", policy: still })),
    ),
  "/docs": (version) =>
    Effect.promise(() => import("./HttpReference.ts")).pipe(
      Effect.flatMap(({ reference }) => reference(version)),
      Effect.map((text) => ({ text, contentType: "text/html; charset=utf-8", policy: scripted })),
    ),
  "/": () => Effect.sync(() => ({ text: page(), contentType: "text/html; charset=utf-8", policy: still })),
}

export interface Docs {
  /** Answers, and says so, where the path is one of its own. */
  readonly serve: (path: string, request: IncomingMessage, response: ServerResponse) => boolean
}

/** `version`: of the runtime. Documents are made when they are first asked for. */
export const makeDocs = (version: string): Docs => {
  const made = new Map<string, Promise<Document>>()
  const serve = (path: string, request: IncomingMessage, response: ServerResponse): boolean => {
    const make = Object.hasOwn(documents, path) ? documents[path] : undefined
    if (make === undefined || (request.method !== "GET" && request.method !== "HEAD")) return false
    let document = made.get(path)
    if (document === undefined) made.set(path, (document = Effect.runPromise(make(version))))
    document.then(
      (it) => answer(it, request, response),
      () => answerProblem(response, internal),
    )
    return true
  }
  return { serve }
}

const answer = ({ text, contentType, policy }: Document, request: IncomingMessage, response: ServerResponse): void => {
  if (response.destroyed) return
  response.setHeader("Content-Security-Policy", policy)
  response.setHeader("Referrer-Policy", "no-referrer")
  answerTagged(request, response, text, contentType)
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (found) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[found]!)

const page = (): string => {
  const rows = routes.map(({ verb, path, method, query, kind }) => {
    const spec = Object.hasOwn(contract, method) ? contract[method as Method] : undefined
    const names = [...Object.keys(query), ...(kind === "turn" ? ["wait", "stream"] : [])]
    const queries = names.length === 0 ? "" : `?${names.join("&")}`
    const what = spec === undefined ? "Not offered by this version." : spec.doc
    return `<tr><td>${verb}<td><code>${escaped(path)}</code><small>${escaped(queries)}</small><td><code>${escaped(method)}</code><td>${needs[method].scope ?? ""}<td>${escaped(what)}`
  })
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>creche: HTTP</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}table{border-collapse:collapse}td,th{border-bottom:1px solid #8884;padding:.3rem .6rem;text-align:left;vertical-align:top}small{color:#777}:root{color-scheme:light dark}</style>
<h1>creche over HTTP</h1>
<p>Requests carry <code>Authorization: Bearer TOKEN</code>, made by <code>creche token create</code>. Bodies and answers are JSON,
failures <code>application/problem+json</code> with a <code>tag</code>. Params are those of the method; <a href="/docs">the reference</a> has
their schemas, and so has <a href="/openapi.json">openapi.json</a>. Streams are server-sent events: <code>data</code> is a transcript entry, <code>id</code> its <code>seq</code>;
<code>Last-Event-ID</code> goes on from there. <code>/v1/ws</code> is a WebSocket with the whole JSON-RPC, one message a frame; <code>/mcp</code> is MCP.</p>
<table><tr><th><th>Route<th>Method<th>Scope<th>
${rows.join("\n")}
</table>`
}
