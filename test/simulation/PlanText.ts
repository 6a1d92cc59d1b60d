/** A plan in words, with nothing said that is as it is by default. */
import { calmLife, calmStore, type Life, type Plan, type SessionPlan, type Step } from "./Plan.ts"
import { calmWorld } from "./Shrink.ts"

const valueOf = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value).replaceAll('"', "")

const differences = (given: object, usual: object, besides: ReadonlyArray<string> = []): string => {
  const usually = usual as Readonly<Record<string, unknown>>
  return Object.entries(given)
    .filter(([key, value]) => !besides.includes(key) && JSON.stringify(value) !== JSON.stringify(usually[key]))
    .map(([key, value]) => `${key}=${valueOf(value)}`)
    .join(" ")
}

const lifeOf = (life: Life): string => differences(life, calmLife) || "calm"

const sessionOf = ({ spec, lives, further, store }: SessionPlan): ReadonlyArray<string> => {
  const { name, command } = spec
  const lines = [`session ${name} (${command}) ${differences(spec, {}, ["name", "command", "cwd", "protocol"])}`.trim()]
  lives.forEach((life, i) => lines.push(`  process ${i + 1}: ${lifeOf(life)}`))
  if (further === "again") lines.push("  further processes: as the last")
  const trouble = differences(store, calmStore)
  if (trouble !== "") lines.push(`  its store: ${trouble}`)
  return lines
}

const stepOf = ({ sessions, supervisors }: Plan, step: Step): string => {
  const { at, n, type } = step
  const about =
    "session" in step
      ? ` ${sessions[step.session]!.spec.name}`
      : "supervisor" in step
        ? ` ${supervisors[step.supervisor]!.path}`
        : ""
  const rest = differences(step, {}, ["at", "n", "type", "session", "supervisor"])
  return `${at.toString().padStart(7)}  ${n} ${type}${about}${rest === "" ? "" : ` ${rest}`}`
}

export const describePlan = (plan: Plan): string => {
  const world = differences(plan.world, calmWorld)
  return [
    `seed ${plan.seed}`,
    ...(world === "" ? [] : [`world ${world}`]),
    ...plan.supervisors.map(({ path, strategy, intensity }) =>
      `supervisor ${path} ${strategy} ${intensity === null ? "" : valueOf(intensity)}`.trim(),
    ),
    ...plan.sessions.flatMap(sessionOf),
    "steps (ms, number, what)",
    ...plan.steps.map((step) => stepOf(plan, step)),
  ].join("\n")
}
