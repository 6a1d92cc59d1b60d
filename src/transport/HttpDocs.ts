/**
 * What HTTP says of itself, to anybody who reaches it: the OpenAPI document and a page for people, both made from the routes
 * and the contract. Holds nothing of this runtime's sessions. Called by the HTTP server.
 */
import { createHash } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import { contract, type Method } from "./Contract.ts"
import { needs } from "./HttpAccess.ts"
import { openApi } from "./HttpOpenApi.ts"
import { routes } from "./HttpRoutes.ts"

interface Document {
  readonly text: string
  readonly contentType: string
  readonly etag: string
}

const documents: Readonly<Record<string, (version: string) => Omit<Document, "etag">>> = {
  "/openapi.json": (version) => ({ text: JSON.stringify(openApi(version)), contentType: "application/json" }),
  "/": () => ({ text: page(), contentType: "text/html; charset=utf-8" }),
}

export interface Docs {
  /** Answers, and says so, where the path is one of its own. */
  readonly serve: (path: string, request: IncomingMessage, response: ServerResponse) => boolean
}

/** `version`: of the runtime. Documents are made when they are first asked for. */
export const makeDocs = (version: string): Docs => {
  const made = new Map<string, Document>()
  return { serve: (path, request, response) => serve(made, version, path, request, response) }
}

const serve = (
  made: Map<string, Document>,
  version: string,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): boolean => {
  const make = Object.hasOwn(documents, path) ? documents[path] : undefined
  if (make === undefined || (request.method !== "GET" && request.method !== "HEAD")) return false
  let document = made.get(path)
  if (document === undefined) {
    const fresh = make(version)
    document = { ...fresh, etag: `"${createHash("sha256").update(fresh.text).digest("base64url").slice(0, 22)}"` }
    made.set(path, document)
  }
  const { text, contentType, etag } = document
  const headers = {
    ETag: etag,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
  }
  if (request.headers["if-none-match"]?.includes(etag) === true) response.writeHead(304, headers).end()
  else {
    response.writeHead(200, { ...headers, "Content-Type": contentType, "Content-Length": Buffer.byteLength(text) })
    response.end(text)
  }
  return true
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
failures <code>application/problem+json</code> with a <code>tag</code>. Params are those of the method; <a href="/openapi.json">openapi.json</a> has
their schemas. Streams are server-sent events: <code>data</code> is a transcript entry, <code>id</code> its <code>seq</code>;
<code>Last-Event-ID</code> goes on from there. <code>/v1/ws</code> is a WebSocket with the whole JSON-RPC, one message a frame.</p>
<table><tr><th><th>Route<th>Method<th>Scope<th>
${rows.join("\n")}
</table>`
}
