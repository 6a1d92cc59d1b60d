import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import * as DataDirectoryLock from "../../src/store/DataDirectoryLock.ts"

let parent: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "creche-lock-"))
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

const mode = (path: string) => statSync(path).mode & 0o777
const hold = (directory: string) => Effect.runPromise(Effect.scoped(DataDirectoryLock.hold(directory)))
const refusal = (directory: string) => Effect.runPromise(Effect.flip(Effect.scoped(DataDirectoryLock.hold(directory))))

/** A directory that any user may enter, with this file in it. */
const open = (name: string, file?: string): string => {
  const directory = join(parent, name)
  mkdirSync(directory)
  if (file !== undefined) writeFileSync(join(directory, file), "")
  chmodSync(directory, 0o755)
  return directory
}

describe("a data directory", () => {
  it("is made with all that is above it, private to the user", async () => {
    const directory = join(parent, "a", "b", "data")
    await hold(directory)
    expect(mode(directory)).toBe(0o700)
    await hold(directory)
  })

  it("that is empty or creche's own is made private", async () => {
    const empty = open("empty")
    const own = open("own", "runtime.lock")
    for (const directory of [empty, own]) {
      await hold(directory)
      expect(mode(directory)).toBe(0o700)
    }
  })

  it("that holds somebody's files and is open to others is refused with the command that mends it, and left as it is", async () => {
    const directory = open("my project", "thesis.txt")
    const error = await refusal(directory)
    expect(error._tag).toBe("DataDirectoryUnusable")
    expect(error.message).toContain(`chmod 700 '${directory}'`)
    expect(error.message).toContain("mode 755")
    expect(mode(directory)).toBe(0o755)
    chmodSync(directory, 0o700)
    await hold(directory)
  })

  it.runIf(process.getuid?.() === 0 || statSync("/").uid !== process.getuid?.())(
    "of another user is refused",
    async () => {
      let directory = "/"
      if (process.getuid?.() === 0) {
        const { chownSync } = await import("node:fs")
        directory = join(parent, "others")
        mkdirSync(directory, { mode: 0o700 })
        chownSync(directory, 4242, 4242)
      }
      const error = await refusal(directory)
      expect(error._tag).toBe("DataDirectoryUnusable")
      expect(error.message).toContain("another user")
    },
  )

  it("that cannot be made is refused at once, also where the system says that its parent is missing", async () => {
    const file = join(parent, "file")
    writeFileSync(file, "")
    expect((await refusal(join(file, "data")))._tag).toBe("DataDirectoryUnusable")
    expect((await refusal(file))._tag).toBe("DataDirectoryUnusable")
    if (process.platform === "linux")
      for (const directory of ["/proc/nope", "/proc/nope/deeper"])
        expect((await refusal(directory))._tag).toBe("DataDirectoryUnusable")
  })

  it("is held by one runtime alone, and told who that is", async () => {
    const directory = join(parent, "held")
    await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          yield* DataDirectoryLock.hold(directory)
          const error = yield* Effect.flip(DataDirectoryLock.hold(directory))
          expect(error).toMatchObject({ _tag: "DataDirectoryInUse", holder: `${process.pid}` })
        }),
      ),
    )
    await hold(directory)
  })
})
