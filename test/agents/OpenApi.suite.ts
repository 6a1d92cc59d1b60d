/** The OpenAPI document of a served runtime, as others read it: a validator takes it, and a program that is written against the types that a generator makes of it compiles, and runs. */
import { execFile, execFileSync } from "node:child_process"
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { freePort, ServedRuntime } from "../acceptance/ServedRuntime.ts"
import { directoryOf, isInstalled } from "./install.ts"
import { openApiTools } from "./Tools.ts"

const wanted = JSON.parse(process.env["CRECHE_AGENTS_WANTED"] ?? "null") as ReadonlyArray<string> | null
const missing = JSON.parse(process.env["CRECHE_AGENTS_MISSING"] ?? "{}") as Readonly<Record<string, string>>
const { name } = openApiTools
const why =
  missing[name] ?? (isInstalled(openApiTools) ? undefined : `${name} is not installed; npm run test:agents does`)

/** What a stranger writes who has the generated types and `fetch`. Lines that must not compile say so. */
const program = `
import type { components, operations, paths } from "./creche.ts"
type Session = components["schemas"]["Session"]
type Turn = components["schemas"]["Turn"]
type Entry = components["schemas"]["Entry"]
type Start = NonNullable<operations["sessionStart"]["requestBody"]>["content"]["application/json"]
type Query = NonNullable<paths["/v1/sessions"]["get"]["parameters"]["query"]>
type NotFound = operations["sessionGet"]["responses"][404]["content"]["application/problem+json"]

const url = process.argv[2]!
const send = async <A>(method: string, path: string, body?: unknown): Promise<A> => {
  const response = await fetch(url + path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return (await response.json()) as A
}
const start: Start = { name: "typed", command: "cat", restart: "permanent", tags: { a: "b" } }
// @ts-expect-error no such restart type
const wrong: Start = { name: "typed", restart: "always" }
// @ts-expect-error no such field
const unknown: Start = { nam: "typed" }
const session = await send<Session>("POST", "/v1/sessions", start)
const status: "ready" | "busy" | "starting" | "authenticating" | "backoff" | "suspended" | "stopping" | "stopped" | "failed" = session.status
const turn = await send<Turn>("POST", "/v1/sessions/typed/turns?wait=true", { prompt: "hello" })
const started: string | null = turn.startedAt
const query: Query = { status: ["ready"], limit: 5 }
// @ts-expect-error limit is a number
const bad: Query = { limit: "5" }
const page = await send<components["schemas"]["TranscriptPage"]>("GET", "/v1/sessions/typed/transcript")
const said = (entry: Entry): string => (entry.type === "turn/ended" ? entry.text : entry.type === "output" ? entry.data : "")
// @ts-expect-error only some entries have a text
const text = (entry: Entry): string => entry.text
const missing = await send<NotFound>("GET", "/v1/sessions/none")
const tag: "SessionNotFound" = missing.tag
console.log(JSON.stringify([status, turn.text, started !== null, page.entries.map(said).filter((it) => it !== ""), tag, wrong, unknown, query, bad, text.length]))
`

describe.runIf(wanted === null || wanted.includes(name))(
  `the OpenAPI document${why === undefined ? "" : ` (skipped: ${why})`}`,
  () => {
    let directory: string
    let runtime: ServedRuntime
    let url: string
    let document: any
    beforeAll(async () => {
      if (why !== undefined) return
      directory = mkdtempSync(join(tmpdir(), "creche-openapi-"))
      const port = await freePort()
      url = `http://127.0.0.1:${port}`
      runtime = new ServedRuntime(join(directory, "data"), ["--http", `127.0.0.1:${port}`, "--no-auth"])
      await runtime.listening()
      document = await (await fetch(`${url}/openapi.json`)).json()
      writeFileSync(join(directory, "openapi.json"), JSON.stringify(document))
    })
    afterAll(async () => {
      await runtime?.kill()
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    })

    it.skipIf(why !== undefined)("is valid OpenAPI 3.1", async () => {
      const require = createRequire(join(directoryOf(openApiTools), "package.json"))
      const { default: parser } = await import(require.resolve("@apidevtools/swagger-parser"))
      const api = await parser.validate(structuredClone(document))
      expect(api.openapi).toBe("3.1.0")
      expect(Object.keys(api.paths).length).toBeGreaterThan(25)
    })

    it.skipIf(why !== undefined)("gives types against which a program compiles, and runs", async () => {
      const at = directoryOf(openApiTools)
      const generated = join(directory, "creche.ts")
      execFileSync(process.execPath, [join(at, openApiTools.program), join(directory, "openapi.json"), "-o", generated])
      symlinkSync(join(at, "node_modules"), join(directory, "node_modules"))
      writeFileSync(join(directory, "program.ts"), program)
      writeFileSync(
        join(directory, "globals.d.ts"),
        "declare const process: { readonly argv: ReadonlyArray<string> }\n",
      )
      writeFileSync(join(directory, "package.json"), '{"type": "module"}')
      const compilerOptions = {
        noEmit: true,
        strict: true,
        exactOptionalPropertyTypes: true,
        target: "esnext",
        module: "nodenext",
        lib: ["esnext", "dom"],
        allowImportingTsExtensions: true,
        types: [],
      }
      const config = { compilerOptions, files: ["program.ts", "globals.d.ts"] }
      writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(config))
      const compiler = join(at, "node_modules/typescript/bin/tsc")
      const compiled = promisify(execFile)(process.execPath, [compiler, "--project", directory])
      await compiled.catch((error: { readonly stdout: string }) => expect(error.stdout).toBe(""))
      const { stdout } = await promisify(execFile)(process.execPath, [join(directory, "program.ts"), url])
      const [status, text, hasStarted, said, tag] = JSON.parse(stdout)
      expect([status, text, hasStarted, said, tag]).toEqual(["ready", "hello", true, ["hello"], "SessionNotFound"])
    })
  },
)
