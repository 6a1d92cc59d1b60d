/** The protocols against the programs they are made for. A program that is missing skips its tests. */
import { afterEach, describe, expect, it } from "vitest"
import type { ProtocolSpec } from "../../src/domain/ProtocolSpec.ts"
import { protocolFor } from "../../src/protocols/ProtocolFor.ts"
import { converse, isInstalled, type Conversation } from "./Conversation.ts"

let open: Array<Conversation> = []
const start = (spec: ProtocolSpec, command: string, ...args: ReadonlyArray<string>) => {
  const protocol = protocolFor(spec)
  if (protocol === undefined) throw new Error(`no protocol for ${spec.type}`)
  const conversation = converse(protocol, command, args, { env: { LANG: "C.UTF-8", NODE_REPL_HISTORY: "" } })
  open.push(conversation)
  return conversation
}
afterEach(async () => {
  await Promise.all(open.map((conversation) => conversation.stop()))
  open = []
})

/** Silence ends an answer also where a program is late: on a busy machine it is asked until it is in time. */
const inTime = async (conversation: Conversation, prompt: string, text: string) => {
  for (const deadline = Date.now() + 20_000; ;) {
    const turn = await conversation.ask(prompt)
    if (turn.text === text) return
    if (Date.now() > deadline) throw new Error(`not within 20 s in time; the last answer was ${JSON.stringify(turn)}`)
  }
}

const sentinel = (send: string): ProtocolSpec => ({ type: "text", endOfTurn: { sentinel: { send, expect: "§{id}" } } })

const programs = ["python3", "bash", "cat", "sqlite3", "sh"] as const
const found = Object.fromEntries(
  await Promise.all(
    programs.map(async (program) => [
      program,
      await isInstalled(program, program === "sh" ? ["-c", ":"] : ["--version"]),
    ]),
  ),
) as { readonly [program in (typeof programs)[number]]: boolean }
describe.skipIf(!found.python3)("python3 (where it is installed)", () => {
  const spec = sentinel("print('§{id}')")

  it("answers expressions, prints, errors and blocks, one turn each", async () => {
    const python = start(spec, "python3", "-i", "-q")
    await python.ready
    expect(await python.ask("6*7")).toMatchObject({ status: "completed", text: "42", deltas: "42" })
    expect(await python.ask("x = 5")).toMatchObject({ text: "" })
    expect(await python.ask("print('a\\n\\nb')")).toMatchObject({ text: "a\n\nb" })
    expect(await python.ask("print('no break', end='')")).toMatchObject({ text: "no break" })
    expect(await python.ask("1/0")).toMatchObject({ text: "" })
    expect(await python.ask("for i in range(3):\n  print(i + x)\n")).toMatchObject({ text: "5\n6\n7" })
    expect(await python.ask("print('§', 'grüße', '日本', '😀')")).toMatchObject({ text: "§ grüße 日本 😀" })
  })

  it("gives a long answer whole", async () => {
    const python = start(spec, "python3", "-i", "-q")
    await python.ready
    const turn = await python.ask("print('\\n'.join(str(i) for i in range(200000)))")
    expect(turn.text).toBe(Array.from({ length: 200_000 }, (_, i) => i).join("\n"))
    expect(turn.deltas).toBe(turn.text)
  })

  it("answers by quiet time as well", async () => {
    const python = start({ type: "text", endOfTurn: { quietMs: 300 } }, "python3", "-i", "-q")
    await python.ready
    await inTime(python, "6*7", "42")
    await inTime(python, "'again'", "'again'")
  })

  it("answers line by line when it is a program that does", async () => {
    const program = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    const python = start({ type: "lines" }, "python3", "-c", program)
    await python.ready
    expect(await python.ask("hello")).toMatchObject({ text: "HELLO" })
    expect(await python.ask("straße")).toMatchObject({ text: "STRASSE" })
    expect(await python.ask("a\nb")).toMatchObject({ status: "failed", error: { tag: "PromptHasNewline" } })
    expect(await python.ask("still right")).toMatchObject({ text: "STILL RIGHT" })
  })
})

describe("node", () => {
  const spec: ProtocolSpec = { type: "text", endOfTurn: { prompt: "^> $" } }

  it("answers expressions, its banner is output and its prompts are no part of an answer", async () => {
    const node = start(spec, process.execPath, "-i")
    await node.ready
    expect(node.events.filter((event) => event.type === "delta")).toEqual([])
    expect(await node.ask("6*7")).toMatchObject({ status: "completed", text: "42", deltas: "42" })
    expect(await node.ask("console.log('> '); 1")).toMatchObject({ text: "> \n1" })
    expect(await node.ask("const x = 5")).toMatchObject({ text: "undefined" })
    expect((await node.ask("nope")).text).toContain("ReferenceError: nope is not defined")
  })

  it("answers a prompt of several lines in one turn, and the next turn is right", async () => {
    // The last of its prompts is known by the silence behind it: where the machine is too busy for that, once more.
    for (const deadline = Date.now() + 20_000; ;) {
      const node = start(spec, process.execPath, "-i")
      await node.ready
      const { text } = await node.ask("function twice(n) {\n  return 2 * n\n}\ntwice(21)")
      if (!/(^|\n)(> )?42$/.test(text) && Date.now() < deadline) continue
      expect(text).toMatch(/(^|\n)(> )?42$/)
      expect(await node.ask("'next'")).toMatchObject({ text: "'next'" })
      return
    }
  })

  it("gives a long answer whole", async () => {
    const node = start(spec, process.execPath, "-i")
    await node.ready
    const turn = await node.ask(
      "process.stdout.write(Array.from({length: 100000}, (_, i) => i).join('\\n') + '\\n'), 0",
    )
    expect(turn.text).toBe(Array.from({ length: 100_000 }, (_, i) => i).join("\n") + "\n0")
  })

  it("speaks ndjson", async () => {
    const program =
      'require("readline").createInterface({input: process.stdin}).on("line", (l) => console.log(JSON.stringify({got: JSON.parse(l)})))'
    const node = start({ type: "ndjson" }, process.execPath, "-e", program)
    await node.ready
    expect((await node.ask("hi")).text).toBe('{"got":{"type":"prompt","prompt":"hi"}}')
    expect((await node.ask('{"a":\n[1]}')).text).toBe('{"got":{"a":[1]}}')
  })
})

for (const shell of ["bash", "sh"] as const) {
  describe.skipIf(!found[shell])(`${shell} (where it is installed)`, () => {
    const spec = sentinel("echo '§{id}'")

    it("answers commands, keeps its state, and passes by what goes to stderr", async () => {
      const bash = start(spec, shell)
      await bash.ready
      expect(await bash.ask("echo hello")).toMatchObject({ text: "hello", deltas: "hello" })
      expect(await bash.ask("x=5; cd /")).toMatchObject({ text: "" })
      expect(await bash.ask("printf '%s in %s' $x $PWD")).toMatchObject({ text: "5 in /" })
      expect(await bash.ask("no-such-command")).toMatchObject({ text: "" })
      expect(await bash.ask("for i in 1 2 3\ndo echo $i\ndone")).toMatchObject({ text: "1\n2\n3" })
      expect(await bash.ask("sleep 0.1; echo late")).toMatchObject({ text: "late" })
    })

    it("answers up to a delimiter that the prompt asks for", async () => {
      const bash = start({ type: "text", endOfTurn: { delimiter: "--" } }, shell)
      await bash.ready
      expect(await bash.ask("echo a; echo --")).toMatchObject({ text: "a" })
      expect(await bash.ask("echo b; echo; echo --")).toMatchObject({ text: "b\n" })
    })
  })
}

describe.skipIf(!found.cat)("cat (where it is installed)", () => {
  it("answers a line with itself", async () => {
    const cat = start({ type: "lines" }, "cat")
    await cat.ready
    for (const line of ["hello", "", "grüße 😀", " spaces ", "\ttab"]) {
      expect(await cat.ask(line)).toMatchObject({ status: "completed", text: line, deltas: line })
    }
  })

  it("answers many lines up to its own sentinel, or to silence", async () => {
    const told = start(sentinel("§{id}"), "cat")
    await told.ready
    expect(await told.ask("hello\nworld")).toMatchObject({ text: "hello\nworld" })
    expect(await told.ask("again")).toMatchObject({ text: "again" })
    const silent = start({ type: "text", endOfTurn: { quietMs: 100 } }, "cat")
    await silent.ready
    await inTime(silent, "hello\nworld", "hello\nworld")
    await inTime(silent, "again", "again")
  })

  it("answers JSON with itself", async () => {
    const cat = start({ type: "ndjson" }, "cat")
    await cat.ready
    expect(await cat.ask('{"text":"me"}')).toMatchObject({ text: "me" })
    expect(await cat.ask("plain")).toMatchObject({ text: '{"type":"prompt","prompt":"plain"}' })
  })
})

describe.skipIf(!found.sqlite3)("sqlite3 (where it is installed)", () => {
  it("answers queries and dot commands", async () => {
    const sqlite = start(sentinel(".print '§{id}'"), "sqlite3", ":memory:")
    await sqlite.ready
    expect(await sqlite.ask("create table t(a, b); insert into t values (1, 'x'), (2, 'y');")).toMatchObject({
      text: "",
    })
    expect(await sqlite.ask("select * from t;")).toMatchObject({ text: "1|x\n2|y" })
    expect(await sqlite.ask("select count(*)\nfrom t;")).toMatchObject({ text: "2" })
  })
})
