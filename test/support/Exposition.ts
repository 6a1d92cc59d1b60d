/**
 * Reads the text exposition format 0.0.4 by its grammar and refuses what does not fit: every line, every escape, the order of
 * HELP, TYPE and samples, buckets that ascend and add up, no series twice. Throws with the line.
 */

export interface Sample {
  /** As it stands: a histogram's have `_bucket`, `_sum` and `_count`. */
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly samples: ReadonlyArray<Sample>
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const types = new Set(["counter", "gauge", "histogram", "summary", "untyped"])

class Line {
  readonly text: string
  readonly number: number
  #at = 0

  constructor(text: string, number: number) {
    this.text = text
    this.number = number
  }

  fail(why: string): never {
    throw new Error(`line ${this.number}: ${why}: ${this.text}`)
  }

  take(pattern: RegExp, what: string): string {
    const sticky = new RegExp(pattern.source, "y")
    sticky.lastIndex = this.#at
    const found = sticky.exec(this.text)
    if (found === null) return this.fail(`${what} is expected at column ${this.#at + 1}`)
    this.#at = sticky.lastIndex
    return found[0]
  }

  is(text: string): boolean {
    if (!this.text.startsWith(text, this.#at)) return false
    this.#at += text.length
    return true
  }

  get isAtEnd(): boolean {
    return this.#at === this.text.length
  }
}

const unescaped = (line: Line, text: string, allowed: string): string =>
  text.replace(/\\(.?)/g, (_whole, sign: string) => {
    if (sign === "" || !allowed.includes(sign)) return line.fail(`\\${sign} is no escape`)
    return sign === "n" ? "\n" : sign
  })

const sampleOf = (line: Line): Sample => {
  const name = line.take(/[a-zA-Z_:][a-zA-Z0-9_:]*/, "a metric name")
  const labels: Record<string, string> = {}
  if (line.is("{")) {
    while (!line.is("}")) {
      const label = line.take(/[a-zA-Z_][a-zA-Z0-9_]*/, "a label name")
      if (Object.hasOwn(labels, label)) line.fail(`${label} stands twice`)
      line.take(/=/, "=")
      const quoted = line.take(/"(?:[^"\\]|\\.)*"/, "a quoted value")
      labels[label] = unescaped(line, quoted.slice(1, -1), '\\n"')
      if (!line.is(",")) {
        line.take(/\}/, "a comma or }")
        break
      }
    }
  }
  line.take(/ +/, "a blank")
  const value = line.take(/\S+/, "a value")
  if (!line.isAtEnd) line.take(/ +-?\d+$/, "a timestamp")
  return { name, labels, value: numberOf(line, value) }
}

const numberOf = (line: Line, text: string): number => {
  if (text === "+Inf") return Infinity
  if (text === "-Inf") return -Infinity
  if (text === "NaN") return Number.NaN
  return /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : line.fail(`${text} is no number`)
}

const baseOf = (family: { readonly name: string; readonly type: string }, sample: string): boolean => {
  const suffixes =
    family.type === "histogram"
      ? ["_bucket", "_sum", "_count"]
      : family.type === "summary"
        ? ["", "_sum", "_count"]
        : [""]
  return suffixes.some((suffix) => sample === family.name + suffix)
}

const seriesOf = ({ labels }: Sample, without: string): string =>
  JSON.stringify(
    Object.entries(labels)
      .filter(([name]) => name !== without)
      .toSorted(),
  )

const checkHistogram = ({ name, samples }: Family): void => {
  const series = new Map<string, Array<Sample>>()
  for (const sample of samples) {
    const key = seriesOf(sample, "le")
    series.set(key, [...(series.get(key) ?? []), sample])
  }
  for (const [key, of] of series) {
    const wrong = (why: string): never => {
      throw new Error(`${name} ${key}: ${why}`)
    }
    const buckets = of.filter((sample) => sample.name === `${name}_bucket`)
    const count = of.find((sample) => sample.name === `${name}_count`)?.value ?? wrong("has no count")
    if (!of.some((sample) => sample.name === `${name}_sum`)) wrong("has no sum")
    const bounds = buckets.map(({ labels }) => (labels["le"] === "+Inf" ? Infinity : Number(labels["le"])))
    if (bounds.some((bound, at) => !(at === 0 || bound > bounds[at - 1]!))) wrong("its bounds do not ascend")
    if (bounds.at(-1) !== Infinity) wrong("has no bucket for +Inf")
    if (buckets.some(({ value }, at) => at > 0 && value < buckets[at - 1]!.value)) wrong("its buckets do not add up")
    if (buckets.at(-1)!.value !== count) wrong("the last bucket is not the count")
  }
}

export const parseExposition = (text: string): ReadonlyMap<string, Family> => {
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line does not end")
  const families = new Map<string, Family>()
  const open: { name: string; type: string; help: string; samples: Array<Sample> } = {
    name: "",
    type: "",
    help: "",
    samples: [],
  }
  const close = () => {
    if (open.name === "") return
    if (families.has(open.name)) throw new Error(`${open.name} stands in two places`)
    const family = { ...open, samples: [...open.samples] }
    if (family.type === "histogram") checkHistogram(family)
    families.set(open.name, family)
  }
  const series = new Set<string>()
  for (const [at, raw] of text.split("\n").slice(0, -1).entries()) {
    const line = new Line(raw, at + 1)
    if (raw === "") continue
    if (raw.startsWith("#")) {
      const [, kind, name = "", rest = ""] =
        /^# (HELP|TYPE) (\S+)(?: (.*))?$/.exec(raw) ?? line.fail("a comment that is none of ours")
      if (!metricName.test(name)) line.fail(`${name} is no metric name`)
      if (kind === "HELP") {
        close()
        Object.assign(open, { name, type: "", help: unescaped(line, rest, "\\n"), samples: [] })
      } else {
        if (open.name !== name) {
          close()
          Object.assign(open, { name, help: "", samples: [] })
        }
        if (open.samples.length > 0) line.fail("TYPE comes after samples")
        if (!types.has(rest)) line.fail(`${rest} is no type`)
        open.type = rest
      }
      continue
    }
    const sample = sampleOf(line)
    if (!baseOf(open, sample.name)) line.fail(`belongs to no family; open is ${open.name}`)
    if (Object.keys(sample.labels).some((name) => !labelName.test(name))) line.fail("a label's name")
    const key = `${sample.name} ${seriesOf(sample, "")}`
    if (series.has(key)) line.fail("this series stands twice")
    series.add(key)
    open.samples.push(sample)
  }
  close()
  return families
}

/** The value of one series; undefined: there is none. */
export const valueOf = (
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
  sample = name,
): number | undefined =>
  families
    .get(name)
    ?.samples.find(
      (each) =>
        each.name === sample &&
        Object.keys(each.labels).length === Object.keys(labels).length &&
        Object.entries(labels).every(([label, value]) => each.labels[label] === value),
    )?.value
