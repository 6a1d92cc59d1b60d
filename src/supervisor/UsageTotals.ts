/** What turns used up since the runtime started, in all and by template. */
import type { Usage } from "../domain/Turn.ts"

export interface UsageReport {
  readonly total: Usage
  /** Of sessions that were started from a template. */
  readonly templates: Readonly<Record<string, Usage>>
}

const addTo = (sum: Record<string, number>, more: Usage): void => {
  for (const [unit, amount] of Object.entries(more)) sum[unit] = (sum[unit] ?? 0) + amount
}

export class UsageTotals {
  readonly #total: Record<string, number> = {}
  readonly #templates = new Map<string, Record<string, number>>()

  add(template: string | null, usage: Usage): void {
    addTo(this.#total, usage)
    if (template === null) return
    let sum = this.#templates.get(template)
    if (sum === undefined) this.#templates.set(template, (sum = {}))
    addTo(sum, usage)
  }

  report(): UsageReport {
    return {
      total: { ...this.#total },
      templates: Object.fromEntries([...this.#templates].map(([template, sum]) => [template, { ...sum }])),
    }
  }
}
