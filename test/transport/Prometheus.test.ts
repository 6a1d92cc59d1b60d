import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Histogram } from "../../src/domain/Histogram.ts"
import { metrics, type MetricName, type MetricSample, type MetricSpec } from "../../src/domain/Telemetry.ts"
import { format } from "../../src/transport/Prometheus.ts"
import { parseExposition, valueOf } from "../support/Exposition.ts"
import { checked } from "../support/Property.ts"

const catalogue = Object.entries(metrics) as ReadonlyArray<[MetricName, MetricSpec]>

const sampleOf = (
  name: MetricName,
  { type, labels, bounds }: MetricSpec,
  label: string,
  value: number,
): MetricSample => {
  const labelled = { name, labels: Object.fromEntries(labels.map((each) => [each, label])) }
  switch (type) {
    case "counter":
    case "gauge":
      return { ...labelled, type, value }
    case "histogram": {
      const histogram = new Histogram(bounds!)
      histogram.observe(value)
      return { ...labelled, ...histogram.value }
    }
    case "summary":
      return { ...labelled, type, quantiles: [[0.5, value]], count: 1, sum: value }
  }
}

describe("metrics as text", () => {
  it("has every metric of the catalogue with its help and type, and fits the grammar", () => {
    const families = parseExposition(format(catalogue.map(([name, spec]) => sampleOf(name, spec, "x", 1))))
    expect([...families.keys()]).toEqual(catalogue.map(([name]) => name))
    for (const [name, { type, help, labels }] of catalogue) {
      expect(families.get(name)).toMatchObject({ type, help })
      for (const { labels: told } of families.get(name)!.samples) {
        expect(Object.keys(told).filter((label) => label !== "le" && label !== "quantile")).toEqual(labels)
      }
    }
  })

  it("gives names and labels back as they were, whatever is in them", () => {
    checked(fc.string({ unit: "binary" }), fc.double({ noNaN: true, noDefaultInfinity: true }), (label, value) => {
      const text = format([sampleOf("creche_usage_total", metrics.creche_usage_total, label, value)])
      expect(valueOf(parseExposition(text), "creche_usage_total", { kind: label }) === value).toBe(true)
    })
  })

  it("says nothing where there is nothing", () => {
    expect(format([])).toBe("")
  })
})

describe("the catalogue", () => {
  it("names units, totals and bounds as Prometheus wants them", () => {
    for (const [name, { type, help, labels, bounds }] of catalogue) {
      expect(name).toMatch(/^(creche|process)_[a-z][a-z0-9_]*$/)
      expect(name.endsWith("_total"), name).toBe(type === "counter")
      expect(help, name).toMatch(/^[A-Z].*\.$/)
      expect(
        labels.every((label) => /^[a-z]+$/.test(label) && label !== "le" && label !== "quantile"),
        name,
      ).toBe(true)
      expect(bounds !== undefined, name).toBe(type === "histogram")
      if (bounds !== undefined) expect(bounds, name).toEqual([...bounds].toSorted((a, b) => a - b))
    }
  })
})

describe("the grammar", () => {
  const wrong: ReadonlyArray<readonly [string, string, RegExp]> = [
    ["a series twice", "# TYPE a gauge\na 1\na 2\n", /stands twice/],
    ["a value that is none", "# TYPE a gauge\na one\n", /is no number/],
    ["a label without quotes", "# TYPE a gauge\na{b=c} 1\n", /a quoted value/],
    ["an open escape", '# TYPE a gauge\na{b="\\q"} 1\n', /is no escape/],
    ["a sample without a family", "a 1\n", /belongs to no family/],
    [
      "a family in two places",
      '# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{c="d"} 2\n',
      /in two places/,
    ],
    [
      "buckets that do not add up",
      '# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
      /do not add up/,
    ],
    ["no bucket for all", '# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n', /no bucket for/],
    ["no end of the last line", "# TYPE a gauge\na 1", /does not end/],
  ]
  it.each(wrong)("refuses %s", (_what, text, why) => {
    expect(() => parseExposition(text)).toThrow(why)
  })
})
