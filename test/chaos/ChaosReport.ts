/**
 * What a run of the chaos suite did and left, a row a test: written by each test to one file, since tests run in processes
 * of their own, and put into a table by whoever ran them.
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs"

/** Where rows go: a file of this name, one JSON object a line. Unset: they are printed alone. */
export const reportVariable = "CHAOS_REPORT"

export const isLong = process.env["CHAOS"] === "long"

export interface ChaosRow {
  /** Numbers of the faults in the catalogue of `docs/chaos.md`, as text: `1–6`, `15`. */
  readonly faults: string
  readonly title: string
  /** How often each kind of fault was injected. */
  readonly injected: Readonly<Record<string, number>>
  readonly sessions: number
  /** Turns that were acknowledged. */
  readonly turns: number
  /** Of those, the ones that ended as `lost`: only a death of the runtime may cause that. */
  readonly lost: number
  readonly survivors: number
  readonly zombies: number
  /** Descriptors of the runtime, before and after; null where the runtime was not the same. */
  readonly descriptors: readonly [number, number] | null
  /** Resident bytes of the runtime, before and after. */
  readonly memory: readonly [number, number] | null
  readonly seed: number | null
  readonly seconds: number
}

export const record = (row: ChaosRow): void => {
  const file = process.env[reportVariable]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(row)}\n`)
  console.log(`chaos ${row.faults}: ${row.title}: ${injectedText(row)}; ${row.sessions} sessions, ${row.turns} turns`)
}

export const rowsOf = (file: string): ReadonlyArray<ChaosRow> =>
  existsSync(file)
    ? readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as ChaosRow)
    : []

const injectedText = ({ injected }: ChaosRow): string =>
  Object.entries(injected)
    .map(([kind, count]) => `${count.toLocaleString("en")} × ${kind}`)
    .join(", ") || "none"

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0)

const cells = (row: ChaosRow): ReadonlyArray<string> => [
  row.faults,
  row.title,
  injectedText(row),
  row.sessions.toLocaleString("en"),
  row.turns.toLocaleString("en"),
  String(row.lost),
  String(row.survivors),
  String(row.zombies),
  row.descriptors === null ? "" : row.descriptors.join(" → "),
  row.memory === null ? "" : row.memory.map(mib).join(" → "),
  row.seed === null ? "" : String(row.seed),
  row.seconds.toFixed(0),
]

const heads = [
  "faults",
  "what",
  "injected",
  "sessions",
  "turns",
  "lost",
  "survivors",
  "zombies",
  "descriptors",
  "MiB",
  "seed",
  "s",
]

/** As Markdown; rows in the order of their faults, the sums last. */
export const reportTable = (rows: ReadonlyArray<ChaosRow>): string => {
  const first = ({ faults }: ChaosRow) => Number(/\d+/.exec(faults)?.[0] ?? Infinity)
  const sorted = rows.toSorted((a, b) => first(a) - first(b) || a.title.localeCompare(b.title))
  const sum = (of: (row: ChaosRow) => number) => rows.reduce((total, row) => total + of(row), 0)
  const total = [
    "",
    `${rows.length} rows`,
    sum(({ injected }) => Object.values(injected).reduce((a, b) => a + b, 0)).toLocaleString("en"),
    sum(({ sessions }) => sessions).toLocaleString("en"),
    sum(({ turns }) => turns).toLocaleString("en"),
    String(sum(({ lost }) => lost)),
    String(sum(({ survivors }) => survivors)),
    String(sum(({ zombies }) => zombies)),
    "",
    "",
    "",
    sum(({ seconds }) => seconds).toFixed(0),
  ]
  const line = (row: ReadonlyArray<string>) => `| ${row.join(" | ")} |`
  return [line(heads), line(heads.map(() => "---")), ...sorted.map((row) => line(cells(row))), line(total)].join("\n")
}
