/**
 * The demo agent: a scripted program that answers prompts as an AI agent's CLI would, without a key or a network.
 * Speaks newline-delimited JSON on stdin and stdout (`help` below lists its commands); runs alone, as TypeScript
 * source and compiled, and imports nothing of creche. Started by `spec.ts`, the tests and the demo.
 *
 * In:  {"type":"prompt","prompt":TEXT}   {"type":"cancel"}
 * Out: {"type":"delta","delta":TEXT}…    {"type":"result","text":TEXT,"usage":{…}} or with `error` or `cancelled`
 *      {"type":"conversation","id":ID}   first of all; `--resume ID` goes on with it, `--fork` besides makes it a new one
 */
import { spawn } from "node:child_process"
import { setImmediate, setTimeout } from "node:timers/promises"
import { Memory, ownDirectory } from "./Memory.ts"

const help = `I am the demo agent. Say anything, or one of these:
/echo TEXT            answer TEXT
/slow MS TEXT         answer TEXT after MS milliseconds
/stream N TEXT        answer TEXT N times, piece by piece
/fail TEXT            end the turn with the error TEXT
/remember KEY TEXT    keep TEXT, for as long as this conversation lives
/recall KEY           what I keep under KEY
/history              the prompts of this conversation before this one, one a line
/env NAME             the value of an environment variable
/cwd, /pid            the working directory, the process id
/stderr TEXT          write TEXT to stderr
/flood BYTES          write that much to stdout and to stderr, then answer
/fork N [setsid]      start N processes that ignore SIGTERM and outlive me; answer their pids
/ignore-term          ignore SIGTERM from now on
/hang                 never answer, nor listen to anything again
/crash [CODE]         exit with CODE (default 1) in the middle of the turn
/kill                 SIGKILL myself in the middle of the turn
/exit                 answer, then exit with code 0
/help                 this text
What I keep outlives this process: started with --resume ID I go on with a conversation, with --fork besides I begin a
new one that knows the same. It is in a file demo-….jsonl in the session's own directory and goes with it: the working
directory, or TMPDIR where the session was given another one to work in. DEMO_MEMORY=DIR names a directory instead;
outside of a session and without DEMO_MEMORY I keep nothing.`

const notUnderstood = 'I read {"type":"prompt","prompt":"…"} and {"type":"cancel"}, one a line'

/** What a command asks for that cannot be done: the turn ends with this as its error. */
class Refused extends Error {}

interface TurnContext {
  readonly signal: AbortSignal
  readonly say: (delta: string) => void
}

type CommandFunction = (argument: string, turn: TurnContext) => string | Promise<string>

const memory = ((): Memory => {
  const [given, id, ...more] = process.argv.slice(2)
  const directory = ownDirectory(process.env, process.cwd())
  if (given === undefined) return Memory.begin(directory)
  const forks = more.length === 1 && more[0] === "--fork"
  const resumed = given === "--resume" && id !== undefined ? Memory.resume(id, directory) : undefined
  if (resumed !== undefined && (forks || more.length === 0)) return forks ? resumed.fork(directory) : resumed
  process.stderr.write(`usage: agent [--resume ID [--fork]], where ID is what an agent reported as its conversation\n`)
  process.exit(2)
})()

let turns = 0
let exiting = false

const send = (message: object) => process.stdout.write(JSON.stringify(message) + "\n")

/** Waits, or less when the turn is cancelled. */
const wait = (ms: number, signal: AbortSignal) => setTimeout(ms, undefined, { signal }).catch(() => {})

const numberAndText = (argument: string, usage: string): [number, string] => {
  const match = /^(\d{1,9})(?:\s+([^]*))?$/.exec(argument)
  if (match === null) throw new Refused(`usage: ${usage}`)
  return [Number(match[1]), match[2] ?? ""]
}

const write = (stream: NodeJS.WriteStream, data: string) =>
  new Promise<void>((resolve) => {
    if (stream.write(data)) resolve()
    else stream.once("drain", resolve)
  })

const flood = async (stream: NodeJS.WriteStream, bytes: number, signal: AbortSignal) => {
  const line = "flood ".repeat(170) + "\n"
  for (let left = bytes; left > 0 && !signal.aborted; left -= line.length) {
    await write(stream, left < line.length ? "~".repeat(left - 1) + "\n" : line)
  }
}

/** Resolves with the pid once the child ignores signals; `exec` keeps it one process. */
const stubbornChild = (detached: boolean) =>
  new Promise<number>((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", "trap '' TERM HUP INT; echo; exec sleep 3600"], {
      detached,
      stdio: ["ignore", "pipe", "ignore"],
    })
    child.once("error", reject)
    child.stdout.once("data", () => {
      child.stdout.destroy()
      child.unref()
      resolve(child.pid ?? 0)
    })
  })

/** Stops this thread for good, without burning a core: no timer, no input, no signal handler runs again. */
const hang = (): never => {
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

const commands: { readonly [name: string]: CommandFunction } = {
  help: () => help,
  echo: (text) => text,
  cwd: () => process.cwd(),
  pid: () => String(process.pid),
  env: (name) => process.env[name] ?? `${name} is not set`,
  remember: (argument) => {
    const match = /^(\S+)\s+([^]+)$/.exec(argument)
    if (match === null) throw new Refused("usage: /remember KEY TEXT")
    const [, key = "", text = ""] = match
    memory.remember(key, text)
    return `I remember ${key}`
  },
  recall: (key) => {
    if (!/^\S+$/.test(key)) throw new Refused("usage: /recall KEY")
    return memory.recall(key) ?? `I remember nothing of ${key}`
  },
  history: () =>
    memory.prompts
      .slice(0, -1)
      .map((prompt) => prompt.replace(/[\r\n]+/g, " "))
      .join("\n"),
  slow: async (argument, turn) => {
    const [ms, text] = numberAndText(argument, "/slow MS TEXT")
    await wait(ms, turn.signal)
    return text
  },
  stream: async (argument, turn) => {
    const [count, text] = numberAndText(argument, "/stream N TEXT")
    let answer = ""
    for (let i = 0; i < count && !turn.signal.aborted; i++) {
      // A few pieces come at a reader's pace; many as fast as they go, letting a cancel in between.
      if (i > 0) await (count <= 100 ? wait(10, turn.signal) : setImmediate())
      const piece = i === 0 ? text : ` ${text}`
      turn.say(piece)
      answer += piece
    }
    return answer
  },
  fail: (text) => {
    throw new Refused(text === "" ? "failed as asked" : text)
  },
  stderr: (text) => {
    process.stderr.write(text + "\n")
    return `wrote ${Buffer.byteLength(text)} bytes to stderr`
  },
  flood: async (argument, turn) => {
    const [bytes] = numberAndText(argument, "/flood BYTES")
    await Promise.all([flood(process.stdout, bytes, turn.signal), flood(process.stderr, bytes, turn.signal)])
    return `wrote ${bytes} bytes to stdout and to stderr`
  },
  fork: async (argument) => {
    const [count, how] = numberAndText(argument, "/fork N [setsid]")
    if (count > 100 || (how !== "" && how !== "setsid")) throw new Refused("usage: /fork N [setsid], N at most 100")
    const pids = await Promise.all(Array.from({ length: count }, () => stubbornChild(how === "setsid")))
    return pids.join(" ")
  },
  "ignore-term": () => {
    process.on("SIGTERM", () => {})
    return "SIGTERM is ignored from now on"
  },
  hang,
  crash: (argument) => {
    const [code] = argument === "" ? [1] : numberAndText(argument, "/crash [CODE]")
    process.stderr.write(`the demo agent crashes with exit code ${code}, as asked\n`)
    process.exit(code)
  },
  kill: () => {
    process.kill(process.pid, "SIGKILL")
    return hang()
  },
  exit: () => {
    exiting = true
    return "goodbye"
  },
}

const converse = (prompt: string, turn: TurnContext): string => {
  const unknown = /^\/(\S*)/.exec(prompt)
  const sentences = [
    `You said ${JSON.stringify(prompt)}.`,
    ` This is turn ${turns} of this process.`,
    unknown === null ? " /help lists what I can do." : ` I know no command /${unknown[1]}; /help lists those I do.`,
  ]
  for (const sentence of sentences) turn.say(sentence)
  return sentences.join("")
}

const answer = (prompt: string, turn: TurnContext): string | Promise<string> => {
  const match = /^\/([a-z-]+)(?:\s+([^]*))?$/.exec(prompt)
  const name = match?.[1] ?? ""
  return Object.hasOwn(commands, name)
    ? (commands[name] as CommandFunction)(match?.[2] ?? "", turn)
    : converse(prompt, turn)
}

const words = (text: string) => (text.match(/\S+/g) ?? []).length

/** A prompt is answered also where it cannot be kept. */
const hear = (prompt: string) => {
  try {
    memory.heard(prompt)
  } catch (error) {
    process.stderr.write(`this prompt is not kept: ${String(error)}\n`)
  }
}

const runTurn = async (prompt: string, signal: AbortSignal) => {
  turns += 1
  hear(prompt)
  let said = ""
  const say = (delta: string) => {
    said += delta
    send({ type: "delta", delta })
  }
  const usage = (text: string) => ({ turns, inputWords: words(prompt), outputWords: words(text) })
  try {
    const text = await answer(prompt, { signal, say })
    if (signal.aborted) send({ type: "result", cancelled: true, text: said, usage: usage(said) })
    else send({ type: "result", text, usage: usage(text) })
  } catch (error) {
    send({ type: "result", text: said, error: error instanceof Error ? error.message : String(error) })
  }
  if (exiting) process.stdout.write("", () => process.exit(0))
}

/** Prompts that wait; null stands for a line that was not understood and is answered in its turn. */
const queue: Array<string | null> = []
let running: AbortController | null = null

const next = async () => {
  if (running !== null) return
  for (let prompt = queue.shift(); prompt !== undefined; prompt = queue.shift()) {
    running = new AbortController()
    if (prompt === null) send({ type: "result", error: notUnderstood })
    else await runTurn(prompt, running.signal)
    if (exiting) return
    running = null
  }
}

const receive = (line: string) => {
  let message: { readonly type?: unknown; readonly prompt?: unknown } | null = null
  try {
    message = JSON.parse(line)
  } catch {
    // Not understood.
  }
  if (message?.type === "cancel") {
    running?.abort()
    return
  }
  queue.push(message?.type === "prompt" && typeof message.prompt === "string" ? message.prompt : null)
  void next()
}

// Whoever read the answers is gone: nothing is left to do.
process.stdout.on("error", () => process.exit(0))
process.stderr.on("error", () => {})
send({ type: "conversation", id: memory.id })
// At the end of stdin the turns that were asked are finished; then nothing keeps the process alive.
// A line ends with a newline and nothing else: readline would also end it at U+2028, which JSON may hold as it is.
let half: Array<string> = []
const line = () => {
  const whole = half.join("")
  half = []
  if (whole.trim() !== "") receive(whole)
}
process.stdin.setEncoding("utf8")
process.stdin.on("data", (chunk: string) => {
  const [rest = "", ...next] = chunk.split("\n")
  half.push(rest)
  for (const piece of next) {
    line()
    half.push(piece)
  }
})
process.stdin.on("end", line)
