/**
 * What a mocked model says, told by the prompt itself, so that every agent can be put through the same scenes. The mocks of
 * the model APIs call it with what an agent sent them; it knows no API.
 *
 *   count N [MS]      the numbers 1 to N, each a piece of its own, MS apart (default 20)
 *   run COMMAND       asks for the agent's shell tool; told the result, says `ran: RESULT`
 *   use NAME JSON     asks for the tool NAME with that input; told the result, says `ran: RESULT`
 *   think WORDS       thinks the words, then says `thought it over`
 *   recall            every prompt that the request held, joined by ` | `
 *   instructed WORDS  `yes` where the words stand in the instructions that came with the prompt, else `no`
 *   fail STATUS       the API refuses with that HTTP status
 *   hang              begins an answer and never goes on
 *   anything else     `heard: ` and the prompt, in two pieces
 */

export type Scene =
  | { readonly tag: "text"; readonly pieces: ReadonlyArray<string>; readonly everyMs: number }
  | { readonly tag: "thinking"; readonly thought: string; readonly pieces: ReadonlyArray<string> }
  /** `name` null: whatever the agent's shell tool is called. */
  | { readonly tag: "tool"; readonly name: string | null; readonly input: Readonly<Record<string, unknown>> }
  | { readonly tag: "failure"; readonly status: number }
  | { readonly tag: "hang" }

const say = (pieces: ReadonlyArray<string>, everyMs = 0): Scene => ({ tag: "text", pieces, everyMs })

const parsed = (json: string): Readonly<Record<string, unknown>> => {
  try {
    return JSON.parse(json) as Readonly<Record<string, unknown>>
  } catch {
    return { text: json }
  }
}

/**
 * `prompts`: all that people said in this conversation, oldest first; `toolResult`: what a tool answered after the last;
 * `instructions`: what the model is told besides.
 */
export const sceneFor = (prompts: ReadonlyArray<string>, toolResult?: string, instructions = ""): Scene => {
  if (toolResult !== undefined) return say(["ran: ", toolResult.trim()])
  const prompt = prompts.at(-1) ?? ""
  const [, word = "", rest = ""] = /^(\w+) ?([^]*)$/.exec(prompt) ?? []
  switch (word) {
    case "count": {
      const [n = 0, everyMs = 20] = rest.split(" ").map(Number)
      return say(
        Array.from({ length: n }, (_, at) => `${at + 1} `),
        everyMs,
      )
    }
    case "run":
      return { tag: "tool", name: null, input: { command: rest, description: "by the mock" } }
    case "use": {
      const [name = "", ...json] = rest.split(" ")
      return { tag: "tool", name, input: parsed(json.join(" ")) }
    }
    case "think":
      return { tag: "thinking", thought: rest, pieces: ["thought ", "it over"] }
    case "recall":
      return say([prompts.join(" | ")])
    case "instructed":
      return say([instructions.includes(rest) ? "yes" : "no"])
    case "fail":
      return { tag: "failure", status: Number(rest) }
    case "hang":
      return { tag: "hang" }
    default:
      return say(["heard: ", prompt])
  }
}
