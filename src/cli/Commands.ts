/**
 * Every command of `creche` with its arguments and flags, as data and declared once. The fast parser
 * (`FastParse`), the effect/cli tree with its help and completions (`CommandTree`), and docs/cli.md are made
 * from it. Holds no behaviour and imports nothing but the list of statuses, so that reading it costs nothing.
 */
import { sessionStatuses } from "../domain/Session.ts"

export interface FlagSpec {
  /** `boolean` takes no value; `integer` a whole number; `choice` one of `choices`. */
  readonly type: "boolean" | "string" | "integer" | "choice"
  readonly summary: string
  /** One letter: `-f`. */
  readonly alias?: string
  /** What the value is called in help. */
  readonly metavar?: string
  readonly choices?: ReadonlyArray<string>
  /** May be given more than once; the values come as an array. */
  readonly many?: true
}

export interface ArgumentSpec {
  readonly name: string
  readonly summary: string
  readonly choices?: ReadonlyArray<string>
  readonly optional?: true
  /** Takes all that follow; the last one only. At least one, unless `optional`. */
  readonly many?: true
}

export interface CommandSpec {
  readonly summary: string
  /** More than the summary, for help and docs. */
  readonly detail?: string
  readonly arguments: ReadonlyArray<ArgumentSpec>
  readonly flags: Readonly<Record<string, FlagSpec>>
  /** What follows `--` is no argument of ours, but a command line for the session. */
  readonly commandLine?: string
  readonly examples: ReadonlyArray<{ readonly command: string; readonly summary: string }>
}

/** Flags that every command takes, before or after its name. */
export const sharedFlags = {
  json: { type: "boolean", summary: "print JSON, one value a line, instead of text for people" },
  data: {
    type: "string",
    metavar: "DIR",
    summary: "data directory (default: CRECHE_DATA, else $XDG_STATE_HOME/creche, else ~/.local/state/creche)",
  },
  socket: {
    type: "string",
    metavar: "PATH",
    summary:
      "socket of the runtime (default: CRECHE_SOCKET, else $XDG_RUNTIME_DIR/creche.sock, else in the data directory)",
  },
  url: {
    type: "string",
    metavar: "URL",
    summary:
      "a runtime elsewhere, by its HTTP: http://HOST:PORT (default: CRECHE_URL, unless --socket or --data is given)",
  },
  token: {
    type: "string",
    metavar: "TOKEN",
    summary: "token for --url; others on this machine can read a command line, so rather set CRECHE_TOKEN",
  },
} as const satisfies Record<string, FlagSpec>

/** They speak to no runtime that is there already, so `--url` would mean nothing. */
export const localCommands: ReadonlyArray<string> = [
  "serve",
  "stdio",
  "token",
  "guard",
  "config",
  "demo",
  "completions",
]

/** Commands that hold a runtime can stand under a guard of their own. */
const initFlag = {
  init: {
    type: "boolean",
    summary:
      "run under a guard of its own, so that nothing is left even when runtime and guards are killed together (Linux; by itself as PID 1)",
  },
} as const satisfies Record<string, FlagSpec>

const session = { name: "session", summary: "name, task or id of a session" } as const
const sessions = { name: "session", summary: "names, tasks or ids of sessions", many: true } as const
const turnFlags = {
  "timeout-ms": {
    type: "integer",
    metavar: "MS",
    summary: "the turn ends as timed_out this long after it was accepted (default: the session's turnTimeoutMs)",
  },
  file: { type: "string", many: true, metavar: "PATH", summary: "send this file with the prompt" },
  key: {
    type: "string",
    metavar: "KEY",
    summary: "idempotency key: the same key in the same session gives the first turn again",
  },
} as const
const logFlags = {
  "log-format": {
    type: "choice",
    choices: ["logfmt", "json"],
    summary: "the runtime's own words on standard error, one line each (default: logfmt)",
  },
  "log-level": {
    type: "choice",
    choices: ["debug", "info", "warn", "error", "none"],
    summary: "the least that it tells (default: info)",
  },
} as const
const prompt = {
  name: "prompt",
  summary: "what to ask; words are joined by spaces; - reads standard input",
  many: true,
} as const

export const commands = {
  serve: {
    summary: "run the runtime in the foreground and listen on the socket",
    detail:
      "Sessions, turns and transcripts are kept in a database in the data directory, and are there again at the next start. Logs go to standard error. SIGTERM, SIGINT and SIGHUP end every session's processes, remove the socket and exit 0; with --drain, turns that run may end first, while new ones are refused. One runtime per data directory.",
    arguments: [],
    flags: {
      demo: { type: "boolean", summary: "also start a session named demo, a small scripted agent" },
      memory: { type: "boolean", summary: "keep nothing: no database; sessions and transcripts end with the runtime" },
      config: {
        type: "string",
        metavar: "FILE",
        summary:
          "a creche.yaml: what the runtime is told, templates, and sessions to start; flags and variables come first",
      },
      http: {
        type: "string",
        metavar: "HOST:PORT",
        summary: "serve HTTP there too; beyond this machine only with --token-file",
      },
      "http-socket": {
        type: "string",
        metavar: "PATH",
        summary: "serve HTTP on a unix socket, private to you; it asks for no token unless --token-file is given",
      },
      "token-file": {
        type: "string",
        metavar: "FILE",
        summary: "whose tokens HTTP asks for (default on TCP: tokens.json in the data directory)",
      },
      "no-auth": {
        type: "boolean",
        summary: "HTTP asks for no token: whoever reaches the port may do everything",
      },
      "http-name": {
        type: "string",
        many: true,
        metavar: "NAME",
        summary: "a name under which HTTP is served, besides localhost and addresses",
      },
      drain: {
        type: "integer",
        metavar: "MS",
        summary:
          "how long a signal lets running turns go on (default: 0); a second signal waits no longer, a third one kills",
      },
      otlp: {
        type: "string",
        metavar: "URL",
        summary:
          "send traces of turns and metrics to this OTLP collector, as http://127.0.0.1:4318 (default: OTEL_EXPORTER_OTLP_ENDPOINT, else nowhere)",
      },
      ...initFlag,
      ...logFlags,
    },
    examples: [
      { command: "creche serve --demo", summary: "try it out" },
      { command: "creche serve --config creche.yaml", summary: "with templates and sessions of your own" },
      { command: "creche serve --http 127.0.0.1:8420", summary: "over HTTP and MCP too, for holders of a token" },
    ],
  },
  stdio: {
    summary: "run a runtime that speaks JSON-RPC on standard input and output",
    detail:
      "The runtime belongs to whoever started it: at the end of standard input every session is stopped, and it exits 0. With --data or CRECHE_DATA, sessions and transcripts are kept there; else nothing is.",
    arguments: [],
    flags: { ...initFlag, ...logFlags },
    examples: [
      {
        command: `echo '{"jsonrpc":"2.0","id":1,"method":"runtime/info"}' | creche stdio`,
        summary: "one request, one answer",
      },
    ],
  },
  mcp: {
    summary: "run an MCP server on standard input and output that offers the runtime's sessions",
    detail:
      "For hosts such as coding agents and desktop assistants: tools to start, ask, list, cancel and stop sessions, to read transcripts and to answer permission requests; sessions and transcripts as resources. It offers the runtime that listens on the socket, and finds it again after a restart. Ends with standard input.",
    arguments: [],
    flags: {
      embedded: {
        type: "boolean",
        summary:
          "a runtime of its own instead, which ends with it; with --data or CRECHE_DATA its sessions are kept there, else nothing is",
      },
      "read-only": { type: "boolean", summary: "offer only tools that change nothing" },
      ...initFlag,
    },
    examples: [
      { command: "creche mcp --read-only", summary: "for a host that may look and change nothing" },
      {
        command: `echo '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' | creche mcp`,
        summary: "the tools that it offers",
      },
    ],
  },
  start: {
    summary: "start a session",
    detail:
      "Answers once the session is ready. A command with a slash and --cwd are taken from the directory you stand in. Flags override what --spec holds.",
    arguments: [{ name: "name", summary: "its name (default: generated)", optional: true }],
    commandLine: "the program to run and its arguments, passed as they are; no shell",
    flags: {
      template: {
        type: "string",
        metavar: "NAME",
        summary:
          "start from this template: python, node, bash, demo, an agent, or one of your own; other flags override it",
      },
      protocol: {
        type: "string",
        metavar: "NAME|JSON",
        summary:
          'how to talk to it: lines (default), ndjson, text, …, or an object such as {"type":"text","endOfTurn":{"quietMs":300}}',
      },
      restart: {
        type: "choice",
        choices: ["permanent", "transient", "temporary"],
        summary: "restart type (default: transient)",
      },
      cwd: { type: "string", metavar: "DIR", summary: "working directory (default: one of the session's own)" },
      env: { type: "string", many: true, metavar: "K=V", summary: "set a variable; K alone removes one" },
      "inherit-env": {
        type: "string",
        many: true,
        metavar: "NAME",
        summary: "pass on only these variables of the runtime's; all passes everything",
      },
      tag: { type: "string", many: true, metavar: "K=V", summary: "a tag to find the session by" },
      task: { type: "string", metavar: "ID", summary: "your own id; at most one live session each" },
      supervisor: { type: "string", metavar: "PATH", summary: "the supervisor that owns it (default: root)" },
      containment: {
        type: "choice",
        choices: ["auto", "group", "guard", "namespace", "cgroup"],
        summary: "how its process tree is held (default: auto)",
      },
      "ready-timeout-ms": { type: "integer", metavar: "MS", summary: "start and handshake (default: 30000)" },
      "turn-timeout-ms": { type: "integer", metavar: "MS", summary: "longest turn (default: 600000)" },
      "idle-timeout-ms": {
        type: "integer",
        metavar: "MS",
        summary: "suspended after that long without a turn; 0: never (default: 1800000)",
      },
      "expires-in-ms": {
        type: "integer",
        metavar: "MS",
        summary: "stopped and removed after that long; 0: never (default: never)",
      },
      "retention-age-ms": {
        type: "integer",
        metavar: "MS",
        summary: "its turns and entries older than this are forgotten; its newest turn stays (default: none are)",
      },
      "retention-bytes": {
        type: "integer",
        metavar: "BYTES",
        summary: "when its turns and entries take more than this, the oldest are forgotten (default: none are)",
      },
      "grace-ms": { type: "integer", metavar: "MS", summary: "from SIGTERM to SIGKILL (default: 5000)" },
      "retry-turns": {
        type: "integer",
        metavar: "N",
        summary: "how often a turn cut short by a crash is asked again (default: 0)",
      },
      "if-exists": {
        type: "choice",
        choices: ["fail", "return"],
        summary: "what happens when the name is taken (default: fail)",
      },
      spec: {
        type: "string",
        metavar: "FILE",
        summary: "a JSON file with any field of a SessionSpec; - reads standard input",
      },
    },
    examples: [
      { command: "creche start echo -- cat", summary: "one line answers one line" },
      { command: "creche start py --template python", summary: "from a template" },
      {
        command: `creche start repl --protocol '{"type":"text","endOfTurn":{"sentinel":{"send":"print(\\"§{id}\\")","expect":"§{id}"}}}' -- python3 -i`,
        summary: "the same in full: a line of its own marks the end of an answer, since a REPL's prompts go to stderr",
      },
    ],
  },
  ask: {
    summary: "ask a session and wait for the answer",
    detail: "Prints the answer's text. Exits 1, with the reason on standard error, when the turn did not complete.",
    arguments: [session, prompt],
    flags: { stream: { type: "boolean", summary: "print the answer as it comes" }, ...turnFlags },
    examples: [
      { command: "creche ask demo hello", summary: "" },
      { command: "git diff | creche ask reviewer -", summary: "the prompt from standard input" },
    ],
  },
  tell: {
    summary: "hand a session a prompt without waiting for the answer",
    detail: "Prints the turn's id once the turn is durable. creche logs shows how it ended.",
    arguments: [session, prompt],
    flags: turnFlags,
    examples: [{ command: "creche tell demo '/slow 5000 done'", summary: "" }],
  },
  ps: {
    summary: "list sessions",
    arguments: [],
    flags: {
      status: {
        type: "choice",
        many: true,
        choices: sessionStatuses,
        summary: "only these",
      },
      tag: { type: "string", many: true, metavar: "K=V", summary: "only those with this tag" },
      task: { type: "string", metavar: "ID", summary: "only the one with this task" },
      supervisor: { type: "string", metavar: "PATH", summary: "only those of this supervisor" },
      quiet: { type: "boolean", alias: "q", summary: "names alone" },
      limit: { type: "integer", metavar: "N", summary: "at most so many, the oldest first (default: all)" },
    },
    examples: [
      { command: "creche ps --status busy --json", summary: "" },
      { command: "creche ps --status suspended --limit 20", summary: "" },
    ],
  },
  tree: { summary: "draw the supervision tree", arguments: [], flags: {}, examples: [] },
  supervisor: {
    summary: "start a supervisor for sessions, or stop one with all below it",
    detail:
      "A session is put below it by start --supervisor PATH. One that runs with the same settings is left as it is; one that gave up begins anew, with its sessions. Its parent must be there. Stopped sessions stay on record.",
    arguments: [
      { name: "action", summary: "what to do", choices: ["start", "stop"] },
      { name: "path", summary: "root/NAME, or /NAME below another one" },
    ],
    flags: {
      strategy: {
        type: "choice",
        choices: ["one_for_one", "one_for_all", "rest_for_one"],
        summary:
          "who is restarted with a session that crashed: nobody, all, or those started after it (default: one_for_one)",
      },
      "max-restarts": {
        type: "integer",
        metavar: "N",
        summary: "a limit of its own: more restarts than that within --within-ms, and it gives up (default: none)",
      },
      "within-ms": { type: "integer", metavar: "MS", summary: "the window of --max-restarts" },
    },
    examples: [
      {
        command: "creche supervisor start root/shop --strategy rest_for_one --max-restarts 3 --within-ms 60000",
        summary: "",
      },
      { command: "creche supervisor stop root/shop", summary: "" },
    ],
  },
  logs: {
    summary: "print a session's transcript",
    arguments: [session],
    flags: {
      follow: {
        type: "boolean",
        alias: "f",
        summary: "go on with what comes, until interrupted",
      },
      after: { type: "integer", metavar: "SEQ", summary: "only entries after this seq (default: 0)" },
      type: { type: "string", many: true, metavar: "TYPE", summary: "only entries of this type, e.g. turn/ended" },
      turn: { type: "string", metavar: "ID", summary: "only entries of this turn" },
      all: { type: "boolean", summary: "also what is over the session's limits and still archived" },
    },
    examples: [{ command: "creche logs -f demo", summary: "" }],
  },
  history: {
    summary: "print what a session was asked, newest last",
    detail: "A line a turn: when, how it ended, how long it took, the first line of the prompt.",
    arguments: [session],
    flags: { limit: { type: "integer", metavar: "N", summary: "the newest so many (default: 100)" } },
    examples: [{ command: "creche history demo --limit 5", summary: "" }],
  },
  search: {
    summary: "find turns by words of their prompts and answers, newest first",
    detail:
      "Every word must occur, in any order; case and accents do not count. A word that ends in * finds what begins so.",
    arguments: [{ name: "words", summary: "what to look for", many: true }],
    flags: {
      session: { type: "string", metavar: "SESSION", summary: "only turns of this session" },
      limit: { type: "integer", metavar: "N", summary: "at most so many (default: 50)" },
    },
    examples: [{ command: "creche search 'hel*' --session demo", summary: "" }],
  },
  export: {
    summary: "write a session's whole transcript, archived entries too",
    detail:
      "ndjson is exact: an entry a line, as on the wire. markdown is to be read: the session, then each turn with its prompt, tools, answer and errors; raw output and an agent's native messages are left out.",
    arguments: [session],
    flags: {
      format: { type: "choice", choices: ["ndjson", "markdown"], summary: "how it is written (default: ndjson)" },
      output: {
        type: "string",
        metavar: "FILE",
        summary:
          "write to this file, readable by you alone, instead of standard output; an existing one is left as it is",
      },
      force: { type: "boolean", summary: "replace an existing file, once all is written" },
    },
    examples: [
      { command: "creche export demo | gzip > demo.ndjson.gz", summary: "" },
      { command: "creche export demo --format markdown --output demo.md", summary: "" },
    ],
  },
  extend: {
    summary: "say how long a session lives from now on; then it is stopped and removed",
    arguments: [session, { name: "ms", summary: "milliseconds from now, or never" }],
    flags: {},
    examples: [{ command: "creche extend demo 3600000", summary: "an hour" }],
  },
  fork: {
    summary: "make a new session that goes on from where this one's conversation stands",
    detail: "Answers once it is ready. Only for agents whose protocol can do it.",
    arguments: [session, { name: "name", summary: "its name (default: generated)", optional: true }],
    flags: {},
    examples: [{ command: "creche fork demo another", summary: "try something else from here on" }],
  },
  answer: {
    summary: "answer a permission request of an agent",
    detail: "creche ps --json and creche logs show what waits for an answer. The first answer wins.",
    arguments: [
      session,
      { name: "outcome", summary: "allow, allow_always, deny, or an option's own id" },
      { name: "request", summary: "id of the request (default: the only one)", optional: true },
    ],
    flags: {},
    examples: [],
  },
  cancel: {
    summary: "cancel a turn; the session lives on",
    arguments: [session, { name: "turn", summary: "id of the turn (default: the running one)", optional: true }],
    flags: {},
    examples: [],
  },
  stop: {
    summary: "end sessions with all their processes; answers when the last one is gone",
    arguments: [sessions],
    flags: { kill: { type: "boolean", summary: "SIGKILL at once instead of asking first" } },
    examples: [{ command: "creche stop demo", summary: "" }],
  },
  restart: { summary: "replace the processes of sessions", arguments: [sessions], flags: {}, examples: [] },
  suspend: {
    summary: "end the processes of sessions, keep the sessions; the next turn wakes them",
    arguments: [sessions],
    flags: {},
    examples: [],
  },
  resume: { summary: "start suspended sessions again", arguments: [sessions], flags: {}, examples: [] },
  rm: {
    summary: "forget sessions: record, transcript and own directory",
    arguments: [sessions],
    flags: {},
    examples: [],
  },
  stats: {
    summary: "counts by status and template, outcomes, durations, restarts, memory and the size of the store",
    arguments: [],
    flags: {
      prometheus: { type: "boolean", summary: "every metric, as text that Prometheus reads" },
    },
    examples: [
      { command: "creche stats --prometheus", summary: "as GET /metrics says it, for a textfile collector or a look" },
    ],
  },
  config: {
    summary: "check a configuration file, or print the JSON schema of such files",
    detail:
      "check says everything that is wrong with the file (default: creche.yaml) by line, column and field, and exits 1 if anything is. schema is for editors. Needs no running runtime.",
    arguments: [
      { name: "action", summary: "what to do", choices: ["check", "schema"] },
      { name: "file", summary: "the file to check", optional: true },
    ],
    flags: {},
    examples: [
      { command: "creche config check creche.yaml", summary: "" },
      { command: "creche config schema > creche.schema.json", summary: "for your editor" },
    ],
  },
  token: {
    summary: "create, list or revoke the bearer tokens of HTTP",
    detail:
      "A token is printed once, when it is created; only its hash is kept. A running runtime heeds a change at once. Scopes: read sees, prompt asks and cancels, approve answers permission requests, admin does everything. --supervisor and --tag confine it to the sessions that have them.",
    arguments: [
      { name: "action", summary: "what to do", choices: ["create", "list", "revoke"] },
      { name: "name", summary: "what to call it; to revoke: its id, or its name", optional: true },
    ],
    flags: {
      scope: {
        type: "choice",
        many: true,
        choices: ["read", "prompt", "approve", "admin"],
        summary: "what it may do (default: read)",
      },
      supervisor: { type: "string", metavar: "PATH", summary: "only sessions of this supervisor and those below it" },
      tag: { type: "string", many: true, metavar: "K=V", summary: "only sessions with this tag" },
      "expires-in-ms": { type: "integer", metavar: "MS", summary: "it counts for so long (default: until revoked)" },
      "per-second": { type: "integer", metavar: "N", summary: "requests that it may make a second (default: 200)" },
      "token-file": {
        type: "string",
        metavar: "FILE",
        summary: "where tokens are kept (default: tokens.json in the data directory)",
      },
    },
    examples: [
      { command: "creche token create bot --scope read --scope prompt", summary: "for a bot" },
      { command: "creche token list", summary: "" },
    ],
  },
  guard: {
    summary: "run one command, with nothing left of it when it ends or its caller does",
    detail:
      "As tini or dumb-init would: with its terminal, its descriptors, its signals and its exit code; also as the first process of a container. Whatever it started, daemons too, is ended with it, and also when the process that started creche guard dies, by kill -9 say. Needs no runtime. Exits as the command did (by the same signal, where it was one; 128 and the signal's number as process 1); 125 when the guard itself cannot work, 126 when the command may not be run, 127 when there is none.",
    arguments: [],
    commandLine: "the program to run and its arguments, passed as they are; no shell",
    flags: {
      "grace-ms": {
        type: "integer",
        metavar: "MS",
        summary:
          "from --signal to SIGKILL for what is left when the command ended, or its caller (default: 0, SIGKILL at once)",
      },
      signal: { type: "string", metavar: "SIGNAL", summary: "the signal that comes before SIGKILL (default: TERM)" },
      group: { type: "boolean", summary: "pass signals to the command's whole process group, not to it alone" },
      rewrite: {
        type: "string",
        many: true,
        metavar: "FROM:TO",
        summary: "pass on another signal than the one that came, say TERM:QUIT; TERM:0 passes none",
      },
      parent: {
        type: "integer",
        metavar: "PID",
        summary:
          "its caller's pid: where that is no longer its parent, nothing is started (default: whoever started it)",
      },
    },
    examples: [
      { command: "creche guard -- sh -c 'sleep 1000 & echo started'", summary: "the sleep is gone with the shell" },
      { command: "creche guard --grace-ms 2000 --rewrite TERM:INT -- cat", summary: "" },
    ],
  },
  doctor: {
    summary: "say what this machine offers and what to do about what is missing",
    detail: "Exits 0 when creche can work here, 1 when it cannot. Looks for programs; runs none of them.",
    arguments: [],
    flags: {},
    examples: [],
  },
  demo: {
    summary: "play a short scene by itself: start, ask, kill -9, restart, ask again, stop, nothing left",
    detail: "Runs a runtime of its own in a temporary directory; needs no running runtime.",
    arguments: [],
    flags: {},
    examples: [],
  },
  completions: {
    summary: "print a completion script for your shell",
    arguments: [{ name: "shell", summary: "the shell", choices: ["bash", "zsh", "fish"] }],
    flags: {},
    examples: [{ command: `eval "$(creche completions bash)"`, summary: "for this shell" }],
  },
} as const satisfies Record<string, CommandSpec>

export type CommandName = keyof typeof commands

type Value<F extends FlagSpec> = F["type"] extends "boolean"
  ? boolean
  : F["type"] extends "integer"
    ? number
    : F extends { readonly type: "choice"; readonly choices: ReadonlyArray<infer C> }
      ? C
      : string

/** Flags as a command gets them: booleans are always there, the rest only when given. */
export type FlagValues<F extends Readonly<Record<string, FlagSpec>>> = {
  readonly [K in keyof F]: F[K] extends { readonly many: true }
    ? ReadonlyArray<Value<F[K]>>
    : F[K]["type"] extends "boolean"
      ? boolean
      : Value<F[K]> | undefined
}

export type ArgumentValues<A extends ReadonlyArray<ArgumentSpec>> = {
  readonly [S in A[number] as S["name"]]: S extends { readonly many: true }
    ? ReadonlyArray<string>
    : S extends { readonly optional: true }
      ? string | undefined
      : string
}

/** What every call of a command has. */
export interface Call {
  readonly name: CommandName
  readonly shared: FlagValues<typeof sharedFlags>
}

/** One call of a command, parsed. */
export interface Invocation<N extends CommandName = CommandName> extends Call {
  readonly name: N
  readonly flags: FlagValues<(typeof commands)[N]["flags"]>
  readonly args: ArgumentValues<(typeof commands)[N]["arguments"]>
  /** What followed `--`, where the command takes a command line; else empty. */
  readonly commandLine: ReadonlyArray<string>
}
