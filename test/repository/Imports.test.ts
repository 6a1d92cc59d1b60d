import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
// @ts-expect-error plain JavaScript without declarations
import { importsOf, violations } from "../../scripts/imports.mjs"

const found = violations as (src: string) => ReadonlyArray<string>
const imports = importsOf as (source: string) => ReadonlyArray<{ specifier: string; typeOnly: boolean; line: number }>

let src = ""
beforeEach(() => {
  src = mkdtempSync(join(tmpdir(), "creche-imports-"))
})
afterEach(() => rmSync(src, { recursive: true, force: true }))

const write = (files: Readonly<Record<string, string>>) => {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(src, name)), { recursive: true })
    writeFileSync(join(src, name), text)
  }
}

describe("the import order", () => {
  it("holds in this repository", () => {
    expect(found(fileURLToPath(new URL("../../src", import.meta.url)))).toEqual([])
  })

  it("lets each layer import what is below it", () => {
    write({
      "domain/A.ts": "export const a = 1",
      "process/B.ts": `import { a } from "../domain/A.ts"`,
      "supervisor/C.ts": `import { a } from "../domain/A.ts"\nimport * as B from "../process/B.ts"`,
      "main.ts": `import * as C from "./supervisor/C.ts"`,
    })
    expect(found(src)).toEqual([])
  })

  it.each([
    ["upwards", "domain/A.ts", `import { x } from "../process/X.ts"`, "process/X.ts"],
    ["upwards in a type", "domain/A.ts", `import type { x } from "../process/X.ts"`, "process/X.ts"],
    ["upwards over several lines", "domain/A.ts", `import {\n  x,\n  y,\n} from "../actors/X.ts"`, "actors/X.ts"],
    ["upwards by export", "domain/A.ts", `export * from "../actors/X.ts"`, "actors/X.ts"],
    ["upwards by a dynamic import", "process/A.ts", `const x = () => import("../supervisor/X.ts")`, "supervisor/X.ts"],
    ["the store elsewhere than in main", "supervisor/A.ts", `import { x } from "../store/X.ts"`, "store/X.ts"],
    ["the store in the CLI", "cli/A.ts", `import { x } from "../store/X.ts"`, "store/X.ts"],
    ["the CLI in main", "main.ts", `import { x } from "./cli/X.ts"`, "cli/X.ts"],
    ["the runtime in the demo agent", "demo/A.ts", `import { x } from "../process/X.ts"`, "process/X.ts"],
    ["a value of the contract in the client", "client/A.ts", `import { x } from "../transport/X.ts"`, "transport/X.ts"],
    ["what is outside src", "domain/A.ts", `import { x } from "../../test/X.ts"`, undefined],
    ["what does not exist", "domain/A.ts", `import { x } from "./Nothing.ts"`, undefined],
  ])("catches an import of %s", (_, file, text, other) => {
    write({ [file]: text, ...(other === undefined ? {} : { [other]: "export const x = 1" }) })
    const [violation] = found(src)
    expect(violation).toContain(`src/${file}:1`)
  })

  it("lets the client import types of the contract", () => {
    write({ "transport/X.ts": "export type X = 1", "client/A.ts": `import type { X } from "../transport/X.ts"` })
    expect(found(src)).toEqual([])
  })

  it("catches a circle, also a long one and one of types alone", () => {
    write({
      "actors/A.ts": `import { b } from "./B.ts"`,
      "actors/B.ts": `import type { c } from "./C.ts"`,
      "actors/C.ts": `export { a } from "./A.ts"`,
    })
    expect(found(src)).toEqual(["src/: imports go in a circle: actors/A.ts → actors/B.ts → actors/C.ts → actors/A.ts"])
  })

  it("catches a folder that has no place", () => {
    write({ "utils/A.ts": "export const a = 1" })
    expect(found(src)[0]).toContain("utils")
  })

  it("reads no import in a comment or a string", () => {
    expect(imports(`// import "./a.ts"\n/* import("./b.ts") */\nconst s = 'import("./c.ts")'\n`)).toEqual([])
    expect(imports(`const s = "//"\nimport { d } from "./d.ts"`)).toMatchObject([{ specifier: "./d.ts", line: 2 }])
  })
})
