/** This package's version, from its package.json: beside `src/` in a checkout, beside `dist/` when installed. */
import { readFileSync } from "node:fs"

export const version: string = (
  JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }
).version
