/** What everything in a simulation shares: the plan, time, the log, and the violations found. */
import { Agenda, type Entry, type Owner } from "./Agenda.ts"
import { EventLog, type Detail } from "./EventLog.ts"
import { lot, type Kind } from "./Lots.ts"
import type { Plan } from "./Plan.ts"
import type { Rule, Violation } from "./Rules.ts"

export class World {
  readonly plan: Plan
  readonly agenda: Agenda
  readonly log: EventLog
  readonly violations: Array<Violation> = []
  /** Misfortune is over: from here on processes are calm and the store works. */
  healed = false
  /** The store answers nobody until then. */
  outageUntil = -Infinity
  /** Wall clock minus the time of the world. */
  wallMs = 1_700_000_000_000
  /** The wall clock was set at some time. */
  wallWasSet = false
  /** What comes right after the present step, before anything else. */
  #soon: Array<() => void> = []

  constructor(plan: Plan, detail: Detail) {
    this.plan = plan
    this.log = new EventLog(detail)
    const { seed, world } = plan
    this.agenda = new Agenda(world.ties === "arrival" ? () => 0 : (order) => lot(seed, "tie", order))
  }

  get now(): number {
    return this.agenda.now
  }

  in(ms: number, act: () => void, owner?: Owner): Entry {
    return this.agenda.in(ms, act, owner)
  }

  soon(act: () => void): void {
    this.#soon.push(act)
  }

  settle(): void {
    while (this.#soon.length > 0) {
      const acts = this.#soon
      this.#soon = []
      for (const act of acts) act()
    }
  }

  lot(kind: Kind, a: number, b = 0, c = 0): number {
    return lot(this.plan.seed, kind, a, b, c)
  }

  say(text: string): void {
    this.log.say(this.agenda.now, text)
  }

  broke(rule: Rule, detail: string): void {
    this.violations.push({ rule, at: this.agenda.now, detail })
    this.say(`BROKEN ${rule}: ${detail}`)
  }
}
