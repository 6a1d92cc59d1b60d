/**
 * The gate for a SessionSpec: works in its template, fills in defaults, and refuses by name what this runtime cannot give.
 * A spec that passes is kept to the letter; nothing in it is silently ignored.
 */
import { isAbsolute } from "node:path"
import * as Effect from "effect/Effect"
import { InvalidParams, SupervisorNotFound, type TemplateNotFound, Unsupported } from "../domain/Errors.ts"
import {
  protocolSpec,
  resolveSpec,
  type SessionSpec,
  specDefaults,
  type SessionSpecInput,
} from "../domain/SessionSpec.ts"
import { type FindTemplate, resolveTemplate } from "../domain/Template.ts"
import type { Protocol } from "../protocols/Protocol.ts"
import { protocolFor } from "../protocols/ProtocolFor.ts"

export interface Admitted {
  readonly spec: SessionSpec
  readonly protocol: Protocol
}

export type Refusal = InvalidParams | TemplateNotFound | SupervisorNotFound | Unsupported

const invalid = (path: string, message: string) => Effect.fail(new InvalidParams({ issues: [{ path, message }] }))

/** The spec with its template, if it names one, worked in; a spec must have come through here before `admit` takes it, which looks at no template. */
export const expand = (input: SessionSpecInput, find: FindTemplate): Effect.Effect<SessionSpecInput, Refusal> =>
  Effect.suspend((): Effect.Effect<SessionSpecInput, Refusal> => {
    if (input.template === undefined) return Effect.succeed(input)
    const resolved = resolveTemplate(find, input.template, input)
    return resolved instanceof Error ? Effect.fail(resolved) : Effect.succeed({ ...resolved, template: input.template })
  })

/** `isSupervisor`: whether there is one at that path. */
export const admit = (
  input: SessionSpecInput,
  generateName: () => string,
  isSupervisor: (path: string) => boolean = (path) => path === "root",
): Effect.Effect<Admitted, Refusal> =>
  Effect.suspend((): Effect.Effect<Admitted, Refusal> => {
    if (input.supervisor !== undefined && !isSupervisor(input.supervisor)) {
      return Effect.fail(new SupervisorNotFound({ supervisor: input.supervisor }))
    }
    if (input.cwd !== undefined && !isAbsolute(input.cwd)) {
      return invalid("cwd", "must be an absolute path")
    }
    const protocol = protocolFor(protocolSpec(input.protocol))
    if (protocol === undefined) {
      const { type } = protocolSpec(input.protocol)
      return Effect.fail(
        new Unsupported({ what: "protocol", detail: `this build does not speak ${JSON.stringify(type)}` }),
      )
    }
    const command = input.command ?? protocol.command?.command
    if (command === undefined) return invalid("command", 'is required: the program to run, e.g. "python3"')
    const args = input.args ?? (input.command === undefined ? protocol.command?.args : undefined) ?? specDefaults.args
    const spec = resolveSpec({ ...input, name: input.name ?? generateName(), command, args })
    if (spec.backoff.initialMs > spec.backoff.maxMs) {
      return invalid("backoff.initialMs", `must not be greater than backoff.maxMs (${spec.backoff.maxMs})`)
    }
    return Effect.succeed({ spec, protocol })
  })
