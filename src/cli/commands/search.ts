/** `creche search`: turns by words of their prompts and answers, newest first. */
import type { Client } from "../../client/index.ts"
import type { WireHit } from "../../transport/Contract.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { faint, shortTime, visibleLine } from "../Text.ts"

export const run: Run<"search"> = async (call, io) => {
  const { session, limit } = call.flags
  const query = call.args.words.join(" ")
  const found = await withRuntime(call, io, async (client) => {
    const hits = await client.search({
      query,
      ...(session === undefined ? {} : { session }),
      ...(limit === undefined ? {} : { limit }),
    })
    return { hits, names: call.shared.json ? new Map<string, string>() : await namesOf(client, hits) }
  })
  if (call.shared.json) await io.stdout(found.hits.map((hit) => `${JSON.stringify(hit)}\n`).join(""))
  else if (found.hits.length === 0) io.stderr("nothing found\n")
  else {
    const line = ({ turn, snippet }: WireHit) => {
      const where = `${shortTime(turn.queuedAt)}  ${turn.id}`
      return `${faint(io.colours, where)}  ${found.names.get(turn.session) ?? turn.session}: ${visibleLine(snippet)}\n`
    }
    await io.stdout(found.hits.map(line).join(""))
  }
  return 0
}

/** Turns name their sessions by id; people know their names. One that was removed meanwhile keeps its id. */
const namesOf = async (client: Client, hits: ReadonlyArray<WireHit>): Promise<Map<string, string>> => {
  const ids = [...new Set(hits.map(({ turn }) => turn.session))]
  const named = ids.map(async (id): Promise<[string, string]> => {
    const found = await client.request("session/get", { session: id }).catch(() => undefined)
    return [id, found?.name ?? id]
  })
  return new Map(await Promise.all(named))
}
