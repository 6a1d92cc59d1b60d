// node --import asInstalled.mjs PROGRAM: what the program imports by name is found as if it had been installed beside it:
// creche from this checkout, everything else in $CRECHE_INSTALLED.
import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"

const own = {
  "creche/spawn": new URL("../../src/spawn/index.ts", import.meta.url).href,
  "creche/spawn/register": new URL("../../src/spawn/register.ts", import.meta.url).href,
}
const beside = pathToFileURL(`${process.env["CRECHE_INSTALLED"]}/program.mjs`).href

registerHooks({
  resolve: (name, context, next) => {
    if (Object.hasOwn(own, name)) return { url: own[name], shortCircuit: true }
    const isPackage = /^[@a-z]/.test(name) && !name.includes(":")
    return next(
      name,
      isPackage && !context.parentURL?.includes("/node_modules/") ? { ...context, parentURL: beside } : context,
    )
  },
})
