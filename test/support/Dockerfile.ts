/** A Dockerfile as its instructions: what the last stage runs, as words. Reads by the parser that editors use. */
import { DockerfileParser, type JSONInstruction } from "dockerfile-ast"

export interface Stage {
  readonly env: Readonly<Record<string, string>>
  readonly user: string | undefined
  readonly volumes: ReadonlyArray<string>
  readonly entrypoint: ReadonlyArray<string>
  readonly cmd: ReadonlyArray<string>
  readonly healthcheck: ReadonlyArray<string>
}

const words = (instruction: JSONInstruction | undefined): ReadonlyArray<string> =>
  (instruction?.getJSONStrings() ?? []).map((word) => JSON.parse(word.getValue()) as string)

export const lastStage = (text: string): Stage => {
  const file = DockerfileParser.parse(text)
  const all = file.getInstructions()
  const from = all.findLastIndex((instruction) => instruction.getKeyword() === "FROM")
  const stage = all.slice(from)
  const of = (keyword: string) => stage.filter((instruction) => instruction.getKeyword() === keyword)
  const env = Object.fromEntries(
    file
      .getENVs()
      .flatMap((each) => each.getProperties())
      .map((property) => [property.getName(), property.getValue() ?? ""]),
  )
  const checks = of("HEALTHCHECK").at(-1)?.getRawArgumentsContent() ?? ""
  const healthcheck = JSON.parse(/CMD\s+(\[.*\])\s*$/s.exec(checks)?.[1] ?? "[]") as ReadonlyArray<string>
  return {
    env,
    user: of("USER").at(-1)?.getArgumentsContent() ?? undefined,
    volumes: words(of("VOLUME").at(-1) as JSONInstruction | undefined),
    entrypoint: words(file.getENTRYPOINTs().at(-1)),
    cmd: words(file.getCMDs().at(-1)),
    healthcheck,
  }
}
