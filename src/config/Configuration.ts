/**
 * Reads creche.yaml and says everything that is wrong with it at once: file, line, column, field and remedy. What passes
 * can be started as it stands, as far as that can be known without starting it. Starts nothing. Called by
 * `creche serve --config` and `creche config check`.
 */
import { readFileSync, statSync } from "node:fs"
import { dirname, isAbsolute, resolve } from "node:path"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { SessionSpecInput } from "../domain/SessionSpec.ts"
import { type Decoded, deepest, isShallow, type Problem } from "../domain/StrictDecoder.ts"
import { parentPath } from "../domain/SupervisorStore.ts"
import { type FindTemplate, resolveTemplate, type Template, templateProblems } from "../domain/Template.ts"
import { admit, expand, type Refusal } from "../supervisor/SpecAdmission.ts"
import { limitOf, type SupervisorRequest } from "../supervisor/Supervisors.ts"
import { builtInTemplates } from "./BuiltInTemplates.ts"
import { configDecoder, type ConfigFile } from "./ConfigFile.ts"
import { type PlacedProblem, readYaml } from "./YamlSource.ts"

export interface Configuration {
  /** Paths are absolute: relative ones in the file are taken from the file's own directory. */
  readonly runtime: NonNullable<ConfigFile["runtime"]>
  readonly templates: Readonly<Record<string, Template>>
  readonly supervisors: ReadonlyArray<SupervisorRequest>
  readonly sessions: ReadonlyArray<SessionSpecInput & { readonly name: string }>
}

export class ConfigurationUnreadable extends Data.TaggedError("ConfigurationUnreadable")<{
  readonly file: string
  readonly detail: string
}> {
  override get message() {
    return `cannot read ${this.file}: ${this.detail}`
  }
}

export class ConfigurationWrong extends Data.TaggedError("ConfigurationWrong")<{
  readonly file: string
  /** In the order of the file; never empty. */
  readonly problems: ReadonlyArray<PlacedProblem>
}> {
  override get message() {
    return this.problems
      .map(
        ({ line, column, path, message }) =>
          `${this.file}:${line}:${column}: ${path === "" ? "" : `${path}: `}${message}`,
      )
      .join("\n")
  }
}

/** Nobody writes more by hand; what is larger is another file. */
const mostBytes = 1024 * 1024

export const readConfiguration = (
  file: string,
  cwd: string,
): Configuration | ConfigurationUnreadable | ConfigurationWrong => {
  const path = resolve(cwd, file)
  let text: string
  try {
    const stat = statSync(path)
    if (stat.size > mostBytes) {
      return new ConfigurationUnreadable({ file, detail: `it holds ${stat.size} bytes, more than ${mostBytes}` })
    }
    text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    const detail = error instanceof TypeError ? "it is not UTF-8" : (error as Error).message
    return new ConfigurationUnreadable({ file, detail })
  }
  const checked = checkConfiguration(text, dirname(path))
  return checked._tag === "Sound" ? checked.configuration : new ConfigurationWrong({ file, problems: checked.problems })
}

export type Checked =
  | { readonly _tag: "Sound"; readonly configuration: Configuration }
  | { readonly _tag: "Wrong"; readonly problems: ReadonlyArray<PlacedProblem> }

/** The configuration, or what is wrong with its text. `directory`: where the file lies. */
export const checkConfiguration = (text: string, directory: string): Checked => {
  const source = readYaml(text)
  const problems = [...source.problems]
  const say = ({ path, message, isName }: Problem) =>
    void problems.push({ ...source.placeOf(path, isName ? "key" : "value"), path: path.join("."), message })
  if (source.value !== undefined) {
    const decoded = decode(source.value.json)
    if (decoded._tag === "Valid") {
      const configuration = located(decoded.value, directory)
      for (const problem of meaningless(configuration)) say(problem)
      if (problems.length === 0) return { _tag: "Sound", configuration }
    } else for (const problem of decoded.problems) say(problem)
  }
  return { _tag: "Wrong", problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) }
}

const wrong = (message: string): Decoded<ConfigFile> => ({ _tag: "Wrong", problems: [{ path: [], message }] })

const decode = (json: unknown): Decoded<ConfigFile> => {
  if (json === null || json === undefined) return wrong("the file is empty; the least it may hold is `version: 1`")
  if (typeof json !== "object" || Array.isArray(json)) {
    return wrong("the file must be a mapping that begins with `version: 1`")
  }
  if (!isShallow(json)) return wrong(`the file is nested more than ${deepest} levels deep`)
  const decoded = configDecoder.decode(json)
  return decoded._tag === "Valid"
    ? decoded
    : { _tag: "Wrong", problems: decoded.problems.map((problem) => inYaml(problem, json)) }
}

/** In YAML 8080 is a number and yes is a text: what JSON's words leave open is said here. */
const inYaml = (problem: Problem, json: object): Problem => {
  const { path, message, isName } = problem
  if (isName) return problem
  if (path.length === 1 && path[0] === "version") {
    const remedy = "this creche reads version 1: write `version: 1`"
    return { path, message: message === "is required" ? `is required; ${remedy}` : `is not known; ${remedy}` }
  }
  const value = path.reduce<unknown>((at, key) => (at as Readonly<Record<string, unknown>> | null)?.[key], json)
  if (value === null && message.startsWith("must be")) return { path, message: `${message}; nothing stands here` }
  const isBare = typeof value === "number" || typeof value === "boolean"
  return isBare && /^must be a string\b/.test(message) ? { path, message: `${message}; put it in quotes` } : problem
}

/** The file's own directory instead of the one in which somebody happens to start the runtime. */
const located = (
  { runtime = {}, templates = {}, supervisors = [], sessions = [] }: ConfigFile,
  directory: string,
): Configuration => {
  const from = (path: string) => (isAbsolute(path) ? path : resolve(directory, path))
  const spec = <S extends { readonly cwd?: string; readonly command?: string }>(fields: S): S => ({
    ...fields,
    ...(fields.cwd === undefined ? {} : { cwd: from(fields.cwd) }),
    ...(fields.command === undefined || !fields.command.includes("/") ? {} : { command: from(fields.command) }),
  })
  return {
    runtime: {
      ...runtime,
      ...(runtime.dataDirectory === undefined ? {} : { dataDirectory: from(runtime.dataDirectory) }),
      ...(runtime.socket === undefined ? {} : { socket: from(runtime.socket) }),
    },
    templates: Object.fromEntries(Object.entries(templates).map(([name, template]) => [name, spec(template)])),
    supervisors,
    sessions: sessions.map(spec),
  }
}

/** What fits the schema and still cannot work. */
const meaningless = ({ templates, supervisors, sessions }: Configuration): ReadonlyArray<Problem> => {
  const own = (record: Readonly<Record<string, Template>>, name: string) =>
    Object.hasOwn(record, name) ? record[name] : undefined
  const find: FindTemplate = (name) => own(templates, name) ?? own(builtInTemplates, name)
  const problems: Array<Problem> = []
  for (const [name, template] of Object.entries(templates)) {
    const faults = templateProblems(name, template, find)
    for (const { path, message } of faults) problems.push({ path: ["templates", name, ...path], message })
    const parent = template.extends === undefined ? undefined : find(template.extends)
    // Without a protocol it may be meant for others to extend.
    if (faults.length > 0 || (template.protocol ?? parent?.protocol) === undefined) continue
    const resolved = resolveTemplate(find, name, {})
    if (resolved instanceof Error) problems.push(...refused(resolved, ["templates", name]))
  }
  const paths = new Set(["root"])
  supervisors.forEach((supervisor, index) => {
    const under = ["supervisors", String(index)]
    const { path } = supervisor
    const limit = limitOf(supervisor)
    if (limit instanceof Error) problems.push(...refused(limit, under))
    if (paths.has(path)) problems.push({ path: [...under, "path"], message: "an earlier supervisor has the same path" })
    else if (!paths.has(parentPath(path)!)) {
      const message = `no supervisor before it has the path ${JSON.stringify(parentPath(path))}; put that one first`
      problems.push({ path: [...under, "path"], message })
    }
    paths.add(path)
  })
  const broken = new Set(problems.map(({ path }) => path[1]))
  const seen = { name: new Set<string>(), task: new Set<string>() }
  sessions.forEach((session, index) => {
    const path = ["sessions", String(index)]
    for (const field of ["name", "task"] as const) {
      const value = session[field]
      if (typeof value !== "string") continue
      if (seen[field].has(value)) {
        problems.push({ path: [...path, field], message: `an earlier session has the same ${field}; choose another` })
      }
      seen[field].add(value)
    }
    // Its template is reported already.
    if (session.template !== undefined && broken.has(session.template)) return
    const refusal = Effect.runSync(
      expand(session, find).pipe(
        Effect.flatMap((spec) =>
          admit(
            spec,
            () => session.name,
            (at) => paths.has(at),
          ),
        ),
        Effect.match({ onFailure: (error) => error, onSuccess: () => undefined }),
      ),
    )
    if (refusal !== undefined) problems.push(...refused(refusal, path))
  })
  return problems
}

const refused = (refusal: Refusal, under: ReadonlyArray<string>): ReadonlyArray<Problem> => {
  switch (refusal._tag) {
    case "InvalidParams":
      return refusal.issues.map(({ path, message }) => ({ path: [...under, ...path.split(".")], message }))
    case "TemplateNotFound":
      return [{ path: [...under, "template"], message: `no template is called ${JSON.stringify(refusal.template)}` }]
    case "SupervisorNotFound": {
      const message = `no supervisor of this file has the path ${JSON.stringify(refusal.supervisor)}; add it to supervisors, or use root`
      return [{ path: [...under, "supervisor"], message }]
    }
    case "Unsupported":
      return [{ path: [...under, ...refusal.what.split(".")], message: refusal.detail }]
  }
}
