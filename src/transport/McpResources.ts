/**
 * Sessions, transcripts and turns as resources of MCP: their addresses, how they are listed and read. Reads alone, through the
 * upstream. Called by `McpSession`.
 *
 *   creche://sessions[?status=&cursor=&limit=]   creche://sessions/{session}   creche://sessions/{session}/transcript[?after=&limit=]
 *   creche://turns/{turn}
 */
import type { Params } from "./Contract.ts"
import type { McpUpstream, UpstreamOptions } from "./McpUpstream.ts"

export type Address =
  | { readonly type: "sessions"; readonly query: URLSearchParams }
  | { readonly type: "session"; readonly session: string }
  | { readonly type: "transcript"; readonly session: string; readonly query: URLSearchParams }
  | { readonly type: "turn"; readonly turn: string }

const json = "application/json"
const ndjson = "application/x-ndjson"
export const sessionsUri = "creche://sessions"
const sessionUri = (session: string): string => `${sessionsUri}/${encodeURIComponent(session)}`
const transcriptUri = (session: string): string => `${sessionUri(session)}/transcript`

/** undefined: no address of ours. */
export const addressOf = (uri: string): Address | undefined => {
  const parts = /^creche:\/\/(sessions|turns)(?:\/([^/?#]+))?(\/transcript)?(?:\?([^#]*))?$/.exec(uri)
  if (parts === null) return undefined
  const [, kind, encoded, transcript, search] = parts
  const query = new URLSearchParams(search ?? "")
  if (encoded === undefined) {
    return kind === "sessions" && transcript === undefined ? { type: "sessions", query } : undefined
  }
  let name: string
  try {
    name = decodeURIComponent(encoded)
  } catch {
    return undefined
  }
  if (transcript !== undefined) return kind === "sessions" ? { type: "transcript", session: name, query } : undefined
  if (search !== undefined) return undefined
  return kind === "sessions" ? { type: "session", session: name } : { type: "turn", turn: name }
}

export const templates = [
  {
    uriTemplate: `${sessionsUri}{?status,cursor,limit}`,
    name: "sessions-filtered",
    title: "Sessions that match",
    description: "A page of sessions: {sessions, nextCursor}.",
    mimeType: json,
  },
  {
    uriTemplate: `${sessionsUri}/{session}`,
    name: "session",
    title: "A session",
    description: "One session, by name, task or id.",
    mimeType: json,
  },
  {
    uriTemplate: `${sessionsUri}/{session}/transcript{?after,limit}`,
    name: "transcript",
    title: "A session's transcript",
    description:
      "Its entries, one JSON object a line: those after the seq `after`, at most `limit`; without `after` the newest ones (default 500).",
    mimeType: ndjson,
  },
  {
    uriTemplate: "creche://turns/{turn}",
    name: "turn",
    title: "A turn",
    description: "One turn as it stands, with its prompt and its answer.",
    mimeType: json,
  },
] as const

const pageSize = 100

/** A page of what is there: the list itself first, then two resources for each session. */
export const listResources = async (upstream: McpUpstream, cursor: string | undefined, options: UpstreamOptions) => {
  const page = await upstream.request(
    "session/list",
    { limit: pageSize, ...(cursor === undefined ? {} : { cursor }) },
    options,
  )
  const known = new Set<string>()
  const own = page.sessions.flatMap(({ id, name, status, lastActiveAt }) => {
    // Of those that had one name after the other, the newest goes by it.
    const by = known.has(name) ? id : name
    known.add(by)
    const annotations = { lastModified: lastActiveAt }
    return [
      { uri: sessionUri(by), name, title: `${name} (${status})`, mimeType: json, annotations },
      {
        uri: transcriptUri(by),
        name: `${name}/transcript`,
        title: `Transcript of ${name}`,
        mimeType: ndjson,
        annotations,
      },
    ]
  })
  const all = { uri: sessionsUri, name: "sessions", title: "Sessions", mimeType: json }
  return {
    resources: cursor === undefined ? [all, ...own] : own,
    ...(page.nextCursor === null ? {} : { nextCursor: page.nextCursor }),
  }
}

/** Params as they stand in an address; what is no number is refused by the contract, in its words. */
const paramsOf = (query: URLSearchParams): Record<string, unknown> =>
  Object.fromEntries(
    [...query].map(([name, value]) => [
      name,
      (name === "after" || name === "limit") && /^\d{1,15}$/.test(value) ? Number(value) : value,
    ]),
  )

const newest = 500

/** One read is one message. */
const mostChars = 4 * 1024 * 1024

const transcriptOf = async (
  upstream: McpUpstream,
  { session, query }: Extract<Address, { readonly type: "transcript" }>,
  options: UpstreamOptions,
): Promise<string> => {
  const given = paramsOf(query)
  const wanted = given["limit"] ?? newest
  const latest = async () => (await upstream.request("session/get", { session }, options)).seq
  let after = given["after"] ?? Math.max(0, (await latest()) - (typeof wanted === "number" ? wanted : 0))
  let limit = wanted
  let text = ""
  while (true) {
    const params = { ...given, session, after, limit } as Params<"session/transcript">
    const { entries, nextAfter } = await upstream.request("session/transcript", params, options)
    for (const entry of entries) text += `${JSON.stringify(entry)}\n`
    after = nextAfter
    limit = Number(limit) - entries.length
    if (entries.length === 0 || Number(limit) <= 0 || text.length > mostChars) return text
  }
}

export const readResource = async (upstream: McpUpstream, uri: string, address: Address, options: UpstreamOptions) => {
  const contents = (mimeType: string, text: string) => ({ contents: [{ uri, mimeType, text }] })
  switch (address.type) {
    case "sessions": {
      const query = paramsOf(address.query) as Params<"session/list">
      return contents(json, JSON.stringify(await upstream.request("session/list", query, options)))
    }
    case "session": {
      const { session } = address
      return contents(json, JSON.stringify(await upstream.request("session/get", { session }, options)))
    }
    case "transcript":
      return contents(ndjson, await transcriptOf(upstream, address, options))
    case "turn":
      return contents(json, JSON.stringify(await upstream.request("turn/get", { turn: address.turn }, options)))
  }
}

/** Names of sessions that begin so. */
export const completeSession = async (upstream: McpUpstream, begun: string, options: UpstreamOptions) => {
  const found: Array<string> = []
  let cursor: string | null = null
  // Names are not indexed for this; who has more sessions types more letters.
  for (let page = 0; page < 10; page++) {
    const query: Params<"session/list"> = { limit: 1000, ...(cursor === null ? {} : { cursor }) }
    const { sessions, nextCursor } = await upstream.request("session/list", query, options)
    for (const { name } of sessions) if (name.startsWith(begun) && !found.includes(name)) found.push(name)
    cursor = nextCursor
    if (cursor === null || found.length > 100) break
  }
  return { completion: { values: found.slice(0, 100), hasMore: found.length > 100 || cursor !== null } }
}
