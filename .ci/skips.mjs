// A reporter for vitest that lists every skipped test with the reason that the test gave.
import { relative } from "node:path"

export default class Skips {
  onTestRunEnd(modules) {
    const lines = []
    for (const module of modules)
      for (const test of module.children.allTests()) {
        const result = test.result()
        if (result.state !== "skipped") continue
        const why = result.note ?? (test.options.mode === "todo" ? "todo" : "no reason given")
        lines.push(`  ${relative(process.cwd(), module.moduleId)} > ${test.fullName}: ${why}`)
      }
    if (lines.length > 0) console.log(`\nskipped:\n${lines.join("\n")}`)
  }
}
