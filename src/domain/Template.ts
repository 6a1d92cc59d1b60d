/**
 * A template: a named, partial SessionSpec, and what a session started from it is. A persona is a template with a system
 * prompt and arguments for its agent. All of it is pure: who keeps templates is behind `TemplateStore`, what a runtime
 * has of them is in `supervisor/Templates`.
 */
import { isAbsolute } from "node:path"
import * as Schema from "effect/Schema"
import { InvalidParams, TemplateNotFound, Unsupported } from "./Errors.ts"
import type { ProtocolSpec } from "./ProtocolSpec.ts"
import { SessionName, sessionSpecFields, type SessionSpecInput } from "./SessionSpec.ts"

const text = (message: string) => Schema.String.check(Schema.isMinLength(1, { message }))
const cString = Schema.String.check(Schema.isPattern(/^[^\0]*$/u, { message: "must not contain a NUL byte" }))

/** Every name that a session may have, a template may have. */
export const TemplateName = SessionName

export const Persona = Schema.Struct({
  systemPrompt: Schema.optionalKey(
    text("must not be empty; leave it out for none")
      .check(Schema.isPattern(/^[^\0]*$/u, { message: "must not contain a NUL byte" }))
      .annotate({ description: "added to the agent's own system prompt" }),
  ),
  agentArgs: Schema.optionalKey(
    Schema.Array(cString).annotate({ description: "arguments for the agent, after those that the protocol gives it" }),
  ),
})
export type Persona = typeof Persona.Type

const { name: _name, task: _task, template: _template, ...inherited } = sessionSpecFields

/** The fields of a template: those of a SessionSpec, but what only one session can have. */
export const templateFields = {
  extends: Schema.optionalKey(
    TemplateName.annotate({ description: "the template to start from; that one must not extend another itself" }),
  ),
  description: Schema.optionalKey(Schema.String.annotate({ description: "what it is for, to be read in lists" })),
  persona: Schema.optionalKey(
    Persona.annotate({ description: "a system prompt and arguments for an agent: {systemPrompt?, agentArgs?}" }),
  ),
  ...inherited,
}

export const Template = Schema.Struct(templateFields)
export type Template = typeof Template.Type

/** Finds a template by its name. */
export type FindTemplate = (name: string) => Template | undefined

type Fields = Omit<Template, "extends" | "description">

/** `upper` on top of `lower`: `env` and `tags` key by key, every other field as a whole. */
export const mergeFields = <L extends Fields, U extends Fields>(lower: L, upper: U): L & U => ({
  ...lower,
  ...upper,
  ...(lower.env === undefined || upper.env === undefined ? {} : { env: { ...lower.env, ...upper.env } }),
  ...(lower.tags === undefined || upper.tags === undefined ? {} : { tags: { ...lower.tags, ...upper.tags } }),
})

export interface TemplateProblem {
  /** The template at fault. */
  readonly template: string
  readonly path: ReadonlyArray<string>
  readonly message: string
}

/** What is wrong with a template among its fellows: whom it extends, and paths that mean nothing to a runtime. */
export const templateProblems = (
  name: string,
  template: Template,
  find: FindTemplate,
): ReadonlyArray<TemplateProblem> => {
  const problems: Array<TemplateProblem> = []
  const say = (path: string, message: string) => problems.push({ template: name, path: [path], message })
  const parentName = template.extends
  if (parentName === name) say("extends", "a template cannot extend itself; give it another name")
  else if (parentName !== undefined) {
    const parent = find(parentName)
    if (parent === undefined) say("extends", `no template is called ${JSON.stringify(parentName)}`)
    else if (parent.extends !== undefined) {
      say(
        "extends",
        `${JSON.stringify(parentName)} extends ${JSON.stringify(parent.extends)} itself, and inheritance goes one level deep: extend ${JSON.stringify(parent.extends)}, or write out what you need of ${JSON.stringify(parentName)}`,
      )
    }
  }
  if (template.cwd !== undefined && !isAbsolute(template.cwd)) say("cwd", "must be an absolute path")
  return problems
}

const agents = ["claude", "codex", "acp"] as const
type AgentSpec = Extract<ProtocolSpec, { readonly type: (typeof agents)[number] }>

const agentOf = (protocol: SessionSpecInput["protocol"]): AgentSpec | undefined => {
  const spec = typeof protocol === "string" ? { type: protocol } : protocol
  return agents.find((type) => type === spec?.type) === undefined ? undefined : (spec as AgentSpec)
}

/** The spec with the persona in it: how its parts reach the agent is the protocol's business. */
const withPersona = (spec: SessionSpecInput, persona: Persona | undefined): SessionSpecInput | Unsupported => {
  if (persona === undefined || Object.keys(persona).length === 0) return spec
  const { systemPrompt, agentArgs = [] } = persona
  const agent = agentOf(spec.protocol)
  const said = typeof spec.protocol === "string" ? spec.protocol : (spec.protocol?.type ?? "lines")
  if (agent === undefined) {
    if (systemPrompt === undefined && agentArgs.length === 0) return spec
    const [what, instead] =
      systemPrompt === undefined ? ["persona.agentArgs", "; put them into args"] : ["persona.systemPrompt", ""]
    return new Unsupported({ what, detail: `the protocol ${JSON.stringify(said)} talks to no agent${instead}` })
  }
  const prompts = [agent.systemPrompt, systemPrompt].filter((prompt) => prompt !== undefined)
  const extraArgs = [...(agent.extraArgs ?? []), ...agentArgs]
  return {
    ...spec,
    protocol: {
      ...agent,
      ...(prompts.length === 0 ? undefined : { systemPrompt: prompts.join("\n\n") }),
      ...(extraArgs.length === 0 ? undefined : { extraArgs }),
    },
  }
}

/**
 * What a session started from the template `name` is told: parent, template and `overrides` merged in this order, then
 * the persona. The result names no template any more. Fails with TemplateNotFound, with InvalidParams at `template`
 * where its inheritance does not hold, or with Unsupported where its protocol cannot carry the persona.
 */
export const resolveTemplate = (
  find: FindTemplate,
  name: string,
  overrides: SessionSpecInput,
): SessionSpecInput | TemplateNotFound | InvalidParams | Unsupported => {
  const template = find(name)
  if (template === undefined) return new TemplateNotFound({ template: name })
  const problems = templateProblems(name, template, find)
  if (problems.length > 0) {
    return new InvalidParams({
      issues: problems.map(({ path, message }) => ({
        path: "template",
        message: `template ${JSON.stringify(name)}: ${path.join(".")}: ${message}`,
      })),
    })
  }
  const { extends: parentName, description: _, ...own } = template
  const { template: _self, ...given } = overrides
  const { extends: _none, description: _about, ...parent } = (parentName === undefined ? {} : find(parentName)) ?? {}
  const { persona, ...spec } = mergeFields(mergeFields(parent as Fields, own), given as Fields)
  return withPersona(spec as SessionSpecInput, persona)
}
