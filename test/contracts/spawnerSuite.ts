/** What every Spawner promises, whoever does the spawning. Run by test/process/SpawnServer.test.ts and GroupSpawner.test.ts. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { SpawnFailed } from "../../src/domain/Errors.ts"
import type { Containment } from "../../src/domain/Session.ts"
import type { Command } from "../../src/process/Command.ts"
import {
  childrenOf,
  commandOf,
  descriptorsAtRest,
  eventually,
  freshToken,
  isGone,
  openBench,
  pidsWith,
  Recorder,
  stateOf,
  type SpawnerBench,
} from "../process/SpawnerBench.ts"

/** `form`: the guard in C with its server, or in Perl, one for each. */
export const spawnerSuite = (level: Containment, skipReason: string, form: "native" | "perl" = "native") => {
  const named = form === "perl" ? `${level} in Perl` : level
  describe.skipIf(skipReason !== "")(`a spawner of level ${named}${skipReason && ` (${skipReason})`}`, () => {
    let bench: SpawnerBench
    beforeAll(async () => {
      bench = await openBench(level)
    })
    afterAll(() => bench?.close())

    const atRest = () => descriptorsAtRest(level === "group" || form === "perl" ? undefined : bench.directory)
    const failure = async (command: string, args: ReadonlyArray<string> = [], over: Partial<Command> = {}) => {
      const exit = await Effect.runPromiseExit(
        Effect.scoped(bench.spawner.spawn(commandOf(command, args, over), new Recorder())),
      )
      if (Exit.isSuccess(exit)) throw new Error("it started")
      const error = await Effect.runPromise(Effect.flip(Effect.failCause(exit.cause)))
      expect(error).toBeInstanceOf(SpawnFailed)
      return error as SpawnFailed
    }
    const shell = (script: string, over: Partial<Command> = {}) => bench.start("sh", ["-c", script], over)

    describe("streams", () => {
      it("stdin reaches the command and its stdout comes back, byte for byte", async () => {
        const { subprocess, recorder, close } = await bench.start("cat")
        const text = "grüße, 漢字 🎉 \0 end\n"
        subprocess.write(text)
        subprocess.write(Buffer.from("bytes\n"))
        await eventually("the echo", () => recorder.stdout.endsWith("bytes\n"))
        expect(recorder.stdout).toBe(`${text}bytes\n`)
        await close()
      })

      it("stdout and stderr arrive apart", async () => {
        const { recorder, close } = await shell("echo out; echo err >&2")
        await recorder.closed
        expect([recorder.stdout, recorder.stderr]).toEqual(["out\n", "err\n"])
        await close()
      })

      it("all that the command wrote before its end is delivered before the last event, in every one of 40 tries", async () => {
        const bytes = 300_000
        const tries = await Promise.all(
          Array.from({ length: 40 }, () => shell(`head -c ${bytes} /dev/zero; head -c ${bytes} /dev/zero >&2; exit 7`)),
        )
        for (const { recorder, close } of tries) {
          await recorder.closed
          expect([recorder.stdoutBytes, recorder.stderrBytes, recorder.order.at(-1)]).toEqual([bytes, bytes, "closed"])
          expect(recorder.exits).toMatchObject([{ kind: "exited", code: 7 }])
          await close()
        }
      })

      it("endStdin lets what was written out first, then the command sees the end", async () => {
        const { subprocess, recorder, close } = await shell("cat | wc -c")
        subprocess.write(Buffer.alloc(500_000, "x"))
        subprocess.endStdin()
        await recorder.closed
        expect(recorder.stdout.trim()).toBe("500000")
        await close()
      })

      it("a child that never reads stdin makes write answer false, and can be terminated", async () => {
        const { subprocess, recorder, close } = await bench.start("sleep", ["1000"])
        const piece = Buffer.alloc(65_536)
        let writes = 0
        while (subprocess.write(piece)) if (++writes > 1000) break
        expect(writes).toBeLessThan(1000)
        await close()
        expect(await recorder.closed).toEqual([])
      })

      it("onDrain follows a write that answered false once the child reads", async () => {
        const { subprocess, recorder, close } = await shell("read go; cat >/dev/null")
        subprocess.write("go\n")
        while (subprocess.write(Buffer.alloc(65_536))) continue
        await eventually("drain", () => recorder.drains > 0)
        await close()
      })

      it("onDrain also follows when the child closes its stdin instead of reading it", async () => {
        const { subprocess, recorder, close } = await shell("exec <&-; echo closed; sleep 1000")
        await eventually("closed stdin", () => recorder.stdout !== "")
        for (let i = 0; i < 100 && subprocess.write(Buffer.alloc(65_536)); i++) continue
        await eventually("drain or dropped", () => recorder.drains > 0 || subprocess.write("x"))
        expect(recorder.exits).toEqual([])
        await close()
      })

      it("writing to a command that has ended is no error", async () => {
        const { subprocess, recorder, close } = await bench.start("true")
        subprocess.write("x")
        await recorder.closed
        expect(subprocess.write("y")).toBe(true)
        subprocess.endStdin()
        await close()
      })

      it("paused output blocks the flooding child and memory stays bounded; the end still comes", async () => {
        const { subprocess, recorder, close } = await shell("exec cat /dev/zero")
        await eventually("output", () => recorder.stdoutBytes > 0)
        subprocess.pauseOutput()
        await eventually("the child blocks", () => stateOf(subprocess.pid) === "S")
        const before = recorder.stdoutBytes
        const rss = process.memoryUsage().rss
        await new Promise((resolve) => setTimeout(resolve, 200))
        // A read that was under way may still be handed over.
        expect(recorder.stdoutBytes - before).toBeLessThan(2 * 1024 * 1024)
        expect(process.memoryUsage().rss - rss).toBeLessThan(32 * 1024 * 1024)
        subprocess.resumeOutput()
        await eventually("output again", () => recorder.stdoutBytes > before + 4 * 1024 * 1024)
        subprocess.pauseOutput()
        await close()
        expect(await recorder.closed).toEqual([])
      })

      it("100 MB on stderr never block the child", async () => {
        const { recorder, close } = await shell("head -c 100000000 /dev/zero >&2; echo done")
        await recorder.closed
        expect([recorder.stdout, recorder.stderrBytes]).toEqual(["done\n", 100_000_000])
        await close()
      })

      it("a handler that throws disturbs neither its own subprocess's end nor another", async () => {
        const bad = new Recorder()
        bad.onStdout = () => {
          throw new Error("a bug in onStdout")
        }
        bad.onExit = () => {
          throw new Error("a bug in onExit")
        }
        const scope = Scope.makeUnsafe()
        const good = await bench.start("cat")
        await Effect.runPromise(
          bench.spawner.spawn(commandOf("sh", ["-c", "echo x; echo y"]), bad).pipe(Scope.provide(scope)),
        )
        expect(await bad.closed).toEqual([])
        good.subprocess.write("still here\n")
        await eventually("echo", () => good.recorder.stdout === "still here\n")
        await good.close()
        await Effect.runPromise(Scope.close(scope, Exit.void))
      })

      it("handlers are called after spawn returned, the exit once, the closing last", async () => {
        for (let i = 0; i < 20; i++) {
          const calls: Array<string> = []
          const recorder = new Recorder()
          const onStdout = recorder.onStdout
          recorder.onStdout = (chunk) => {
            calls.push("stdout")
            onStdout(chunk)
          }
          await Effect.runPromise(
            Effect.scoped(
              Effect.flatMap(bench.spawner.spawn(commandOf("sh", ["-c", "echo x; exit 1"]), recorder), () =>
                Effect.sync(() => calls.push("returned")),
              ),
            ),
          )
          await recorder.closed
          expect(calls[0]).toBe("returned")
          expect(recorder.order.at(-1)).toBe("closed")
          expect(recorder.exits.length).toBe(1)
        }
      })
    })

    describe("what the command is given", () => {
      it("arguments arrive as they are: spaces, quotes, newlines, stars, nothing, any script", async () => {
        const args = ["a b", "", "'\"$HOME`id`", "*", "line\nbreak", "漢字"]
        const { recorder, close } = await bench.start("node", [
          "-e",
          "process.stdout.write(JSON.stringify(process.argv.slice(1)))",
          "--",
          ...args,
        ])
        await recorder.closed
        expect(JSON.parse(recorder.stdout)).toEqual(args)
        await close()
      })

      it("the environment is the one of the command and nothing else", async () => {
        const env = { PATH: process.env["PATH"] ?? "", A: "1", EMPTY: "", MULTI: "a\nb=c", Ü: "ü" }
        const { recorder, close } = await bench.start("env", ["-0"], { env })
        await recorder.closed
        const given = recorder.stdout.split("\0").filter((entry) => entry !== "")
        expect(given.toSorted()).toEqual(
          Object.entries(env)
            .map(([name, value]) => `${name}=${value}`)
            .toSorted(),
        )
        await close()
      })

      it("the working directory is the one asked for", async () => {
        const { recorder, close } = await bench.start("pwd", [], { cwd: "/" })
        await recorder.closed
        expect(recorder.stdout).toBe("/\n")
        await close()
      })

      it("a relative command is looked for from the working directory", async () => {
        writeFileSync(join(bench.directory, "tool"), "#!/bin/sh\necho tool\n", { mode: 0o755 })
        const { recorder, close } = await bench.start("./tool", [], { cwd: bench.directory })
        await recorder.closed
        expect(recorder.stdout).toBe("tool\n")
        await close()
      })

      it("a name without a slash is looked for in the command's own PATH", async () => {
        writeFileSync(join(bench.directory, "only-here"), "#!/bin/sh\necho found\n", { mode: 0o755 })
        const { recorder, close } = await bench.start("only-here", [], {
          env: { PATH: `/nowhere:${bench.directory}:/bin` },
        })
        await recorder.closed
        expect(recorder.stdout).toBe("found\n")
        await close()
      })

      it("descriptors 0, 1 and 2 and no other are open", async (context) => {
        context.skip(level === "group", "Node's own spawn passes on what the runtime itself inherited")
        context.skip(process.platform !== "linux", "only Linux lists them in /proc")
        const { recorder, close } = await shell("exec ls /proc/self/fd")
        await recorder.closed
        // The fourth is the listing's own.
        expect(recorder.stdout.trim().split("\n")).toEqual(["0", "1", "2", "3"])
        await close()
      })

      it("no signal is ignored or blocked, and the group is its own", async (context) => {
        context.skip(process.platform !== "linux", "only Linux tells in /proc")
        const { subprocess, recorder, close } = await bench.start("cat", ["/proc/self/status", "/proc/self/stat"])
        await recorder.closed
        expect(/^SigBlk:\s*(\S+)$/m.exec(recorder.stdout)?.[1]).toMatch(/^0+$/)
        expect(/^SigIgn:\s*(\S+)$/m.exec(recorder.stdout)?.[1]).toMatch(/^0+$/)
        const stat = recorder.stdout.trim().split("\n").at(-1)!.split(" ")
        // In a namespace of its own it is the second process.
        expect(Number(stat[4])).toBe(level === "namespace" ? 2 : subprocess.pid)
        await close()
      })
    })

    describe("exits", () => {
      it.each([0, 1, 3, 127, 255])("exit code %i is reported exactly", async (code) => {
        const { recorder, close } = await shell(`exit ${code}`)
        expect(await recorder.exit).toMatchObject({ kind: "exited", code })
        await close()
      })

      it.each(["SIGKILL", "SIGTERM", "SIGSEGV", "SIGUSR1", "SIGABRT"])(
        "death by %s is reported exactly",
        async (signal) => {
          const { recorder, close } = await shell(`kill -${signal.slice(3)} $$; sleep 1000`)
          expect(await recorder.exit).toMatchObject({ kind: "signaled", signal })
          await close()
        },
      )

      it("an end within the first moments is not missed: 100 at once", async () => {
        const all = await Promise.all(Array.from({ length: 100 }, (_, i) => shell(`exit ${i % 50}`)))
        for (const [i, { recorder, close }] of all.entries()) {
          expect(await recorder.exit).toMatchObject({ kind: "exited", code: i % 50 })
          expect(await recorder.closed).toEqual([])
          await close()
        }
      })
    })

    describe("spawn failures", () => {
      const file = (name: string, text: string, mode: number) => {
        const path = join(bench.directory, name)
        writeFileSync(path, text)
        chmodSync(path, mode)
        return path
      }

      it("a command that is not in PATH: ENOENT of command", async () => {
        const error = await failure("no-such-command-anywhere")
        expect(error).toMatchObject({ errno: "ENOENT", field: "command" })
        expect(error.message).toContain("PATH")
      })

      it("a path that does not exist: ENOENT of command", async () => {
        expect(await failure("/no/such/file")).toMatchObject({ errno: "ENOENT", field: "command" })
      })

      it("a script whose interpreter is missing: ENOENT, and the detail says so", async () => {
        const error = await failure(file("orphan", "#!/no/such/interpreter\n", 0o755))
        expect(error).toMatchObject({ errno: "ENOENT", field: "command" })
        expect(error.message).toContain("interpreter")
      })

      it("a file that is not executable: EACCES of command", async () => {
        expect(await failure(file("plain", "#!/bin/sh\n", 0o644))).toMatchObject({ errno: "EACCES", field: "command" })
      })

      it("a directory: EACCES of command, and the detail says so", async () => {
        const error = await failure("/usr")
        expect(error).toMatchObject({ errno: "EACCES", field: "command" })
        expect(error.message).toContain("directory")
      })

      it("a path through a file: ENOTDIR of command", async () => {
        expect(await failure("/etc/passwd/x")).toMatchObject({ errno: "ENOTDIR", field: "command" })
      })

      it("a text file without #!: ENOEXEC of command, and no shell runs it", async () => {
        const proof = join(bench.directory, "ran")
        const error = await failure(file("script", `echo ran >${proof}\n`, 0o755))
        expect(error).toMatchObject({ errno: "ENOEXEC", field: "command" })
        expect(() => chmodSync(proof, 0o600)).toThrow("ENOENT")
      })

      it("a missing working directory: ENOENT of cwd", async () => {
        expect(await failure("true", [], { cwd: "/no/such/directory" })).toMatchObject({
          errno: "ENOENT",
          field: "cwd",
        })
      })

      it("a working directory that is a file: ENOTDIR of cwd", async () => {
        expect(await failure("true", [], { cwd: "/etc/passwd" })).toMatchObject({ errno: "ENOTDIR", field: "cwd" })
      })

      it("a working directory that may not be entered: EACCES of cwd", async (context) => {
        context.skip(process.getuid?.() === 0, "root may enter every directory")
        const closed = join(bench.directory, "closed")
        mkdirSync(closed, { mode: 0o000 })
        expect(await failure("true", [], { cwd: closed })).toMatchObject({ errno: "EACCES", field: "cwd" })
        chmodSync(closed, 0o700)
      })

      it("arguments beyond what the system passes: E2BIG of args", async () => {
        expect(await failure("true", ["x".repeat(3_000_000)])).toMatchObject({ errno: "E2BIG", field: "args" })
        expect(await failure("true", ["x".repeat(64 * 1024 * 1024)])).toMatchObject({ errno: "E2BIG", field: "args" })
      })

      it("an environment beyond what the system passes: E2BIG of env, without its value", async () => {
        const secret = "topsecret".repeat(300_000)
        const error = await failure("true", [], { env: { PATH: "/bin", SECRET: secret } })
        expect(error).toMatchObject({ errno: "E2BIG", field: "env" })
        expect(error.message).not.toContain("topsecret")
      })

      it("a NUL byte in command, cwd, an argument or a variable is refused, never cut short", async () => {
        expect(await failure("tr\0ue")).toMatchObject({ field: "command" })
        expect(await failure("true", ["a\0b"])).toMatchObject({ field: "args" })
        expect(await failure("true", [], { cwd: "/\0" })).toMatchObject({ field: "cwd" })
        expect(await failure("true", [], { env: { A: "x\0y" } })).toMatchObject({ field: "env" })
      })

      it.skipIf(level !== "group").each(["guard", "namespace", "cgroup"] as const)(
        "containment %s is refused where only groups hold: ELEVEL, never silently less",
        async (containment) => {
          expect(await failure("true", [], { containment })).toMatchObject({ errno: "ELEVEL", field: "containment" })
        },
      )

      it("says which level holds it", async () => {
        const { subprocess, close } = await bench.start("cat")
        expect(subprocess.containment).toBe(level)
        await close()
      })

      it("a spawn after a hundred failed ones works, and no descriptor stays open", async () => {
        await failure("nope")
        const before = await atRest()
        await Promise.all(Array.from({ length: 100 }, () => failure("nope")))
        await eventually("descriptors back", async () => (await atRest()) <= before)
        const { recorder, close } = await shell("echo fine")
        await recorder.closed
        expect(recorder.stdout).toBe("fine\n")
        await close()
      })
    })

    describe("terminate-then-wait", () => {
      const terminate = (started: Awaited<ReturnType<SpawnerBench["start"]>>, shutdown: Command["shutdown"]) =>
        Effect.runPromise(started.subprocess.terminate(shutdown))
      const ready = (started: Awaited<ReturnType<SpawnerBench["start"]>>) =>
        eventually("ready", () => started.recorder.stdout.includes("ready"))
      const stubborn = "trap '' TERM INT HUP; echo ready; while :; do sleep 1000; done"

      it("a polite child ends by the signal that it was sent", async () => {
        const started = await bench.start("sleep", ["1000"])
        expect(await terminate(started, { signal: "SIGINT", graceMs: 10_000, stdinEofMs: 0 })).toEqual([])
        expect(started.recorder.exits).toMatchObject([{ kind: "signaled", signal: "SIGINT" }])
        expect(isGone(started.subprocess.pid)).toBe(true)
      })

      it("a child that ignores the signal is killed after the grace, and the answer waits for that", async () => {
        const started = await shell(stubborn)
        await ready(started)
        const since = performance.now()
        expect(await terminate(started, { signal: "SIGTERM", graceMs: 100, stdinEofMs: 0 })).toEqual([])
        expect(performance.now() - since).toBeGreaterThanOrEqual(99)
        expect(started.recorder.exits).toMatchObject([{ kind: "signaled", signal: "SIGKILL" }])
        expect(isGone(started.subprocess.pid)).toBe(true)
      })

      it("brutal_kill waits for no grace", async () => {
        const started = await shell(stubborn)
        await ready(started)
        await terminate(started, "brutal_kill")
        expect(started.recorder.exits).toMatchObject([{ kind: "signaled", signal: "SIGKILL" }])
      })

      it("a later brutal_kill cuts a long grace short, and both callers are answered", async () => {
        const started = await shell(stubborn)
        await ready(started)
        const polite = terminate(started, { signal: "SIGTERM", graceMs: 600_000, stdinEofMs: 0 })
        const joined = terminate(started, { signal: "SIGTERM", graceMs: 600_000, stdinEofMs: 0 })
        await terminate(started, "brutal_kill")
        expect(await Promise.all([polite, joined])).toEqual([[], []])
      })

      it("with stdinEofMs the end of stdin comes first, and a child that heeds it exits by itself", async () => {
        const started = await shell("cat; exit 5")
        await terminate(started, { signal: "SIGKILL", graceMs: 0, stdinEofMs: 10_000 })
        expect(started.recorder.exits).toMatchObject([{ kind: "exited", code: 5 }])
      })

      it("a child that is stopped with SIGSTOP is ended politely all the same", async () => {
        const started = await shell("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done")
        await ready(started)
        started.subprocess.signal("SIGSTOP", "leader")
        await eventually("stopped", () => stateOf(started.subprocess.pid) === "T")
        await terminate(started, { signal: "SIGTERM", graceMs: 10_000, stdinEofMs: 0 })
        expect(started.recorder.exits).toMatchObject([{ kind: "exited", code: 9 }])
      })

      it("a stopped child that ignores the signal is killed after the grace", async () => {
        const started = await shell(stubborn)
        await ready(started)
        started.subprocess.signal("SIGSTOP")
        await terminate(started, { signal: "SIGTERM", graceMs: 50, stdinEofMs: 0 })
        expect(isGone(started.subprocess.pid)).toBe(true)
      })

      it("terminating what has ended already answers at once", async () => {
        const started = await bench.start("true")
        await started.recorder.closed
        expect(await terminate(started, { signal: "SIGTERM", graceMs: 600_000, stdinEofMs: 0 })).toEqual([])
      })

      it("terminate racing the natural end: one exit, one closing, 100 times", async () => {
        await Promise.all(
          Array.from({ length: 100 }, async (_, i) => {
            const started = await shell(i % 2 === 0 ? "exit 0" : "sleep 0.002")
            await Promise.all([terminate(started, "brutal_kill"), terminate(started, "brutal_kill"), started.close()])
            expect(started.recorder.exits.length).toBe(1)
            expect(started.recorder.order.filter((event) => event === "closed").length).toBe(1)
          }),
        )
      })

      it("closing the scope is terminate(command.shutdown)", async () => {
        const started = await shell("trap 'exit 4' USR1; echo ready; while :; do sleep 0.01; done", {
          shutdown: { signal: "SIGUSR1", graceMs: 10_000, stdinEofMs: 0 },
        })
        await ready(started)
        await started.close()
        expect(started.recorder.exits).toMatchObject([{ kind: "exited", code: 4 }])
      })

      it("signal reaches the group, or with leader the command's own process alone", async () => {
        const script =
          "(trap 'echo child' USR1; echo ready; while :; do sleep 0.01; done) & trap 'echo leader' USR1; echo ready; while :; do wait; done"
        const started = await shell(script)
        await eventually("both ready", () => started.recorder.stdout === "ready\nready\n")
        started.subprocess.signal("SIGUSR1", "leader")
        await eventually("leader", () => started.recorder.stdout.includes("leader"))
        expect(started.recorder.stdout).not.toContain("child")
        started.subprocess.signal("SIGUSR1")
        await eventually("child", () => started.recorder.stdout.includes("child"))
        await started.close()
      })

      it("a background child that holds stdout ends with its leader, so that the end comes", async () => {
        const token = freshToken()
        const started = await shell(`sleep 1000.${token} & echo ready; exit 6`)
        expect(await started.recorder.exit).toMatchObject({ kind: "exited", code: 6 })
        expect(await started.recorder.closed).toEqual([])
        await eventually("the stray is gone", () => pidsWith(token).length === 0)
        await started.close()
      })

      it("a grandchild in the group is ended with the group", async () => {
        const token = freshToken()
        const started = await shell(
          `trap '' TERM; (trap '' TERM; sleep 1000.${token}; sleep 1000.${token}) & echo ready; wait`,
        )
        await eventually("grandchild", () => pidsWith(token).length > 0)
        await terminate(started, { signal: "SIGTERM", graceMs: 50, stdinEofMs: 0 })
        await eventually("nothing left", () => pidsWith(token).length === 0)
      })
    })

    describe("interruption and leaks", () => {
      it("interrupting a spawn at any moment leaves nothing behind", async () => {
        const token = freshToken()
        const scope = Scope.makeUnsafe()
        await Promise.all(
          Array.from({ length: 60 }, async (_, i) => {
            const fiber = Effect.runFork(
              bench.spawner.spawn(commandOf("sleep", [`1000.${token}`]), new Recorder()).pipe(Scope.provide(scope)),
            )
            for (let turn = 0; turn < i % 12; turn++) await new Promise((resolve) => setImmediate(resolve))
            await Effect.runPromise(Fiber.interrupt(fiber))
          }),
        )
        await Effect.runPromise(Scope.close(scope, Exit.void))
        await eventually("nothing left", () => pidsWith(token).length === 0)
        expect(await Effect.runPromise(bench.spawner.live)).toEqual([])
      })

      it("live names the leaders that are held", async () => {
        const a = await bench.start("sleep", ["1000"])
        const b = await bench.start("sleep", ["1000"])
        expect((await Effect.runPromise(bench.spawner.live)).toSorted()).toEqual(
          [a.subprocess.pid, b.subprocess.pid].toSorted(),
        )
        await Promise.all([a.close(), b.close()])
        expect(await Effect.runPromise(bench.spawner.live)).toEqual([])
      })

      it("300 spawns later the descriptors are back to the start and no child is left", async () => {
        const warm = await bench.start("true")
        await warm.recorder.closed
        await warm.close()
        const before = await atRest()
        const children = childrenOf(process.pid).length
        for (let round = 0; round < 6; round++) {
          await Promise.all(
            Array.from({ length: 50 }, async (_, i) => {
              const started = await shell(i % 2 === 0 ? "echo x" : "cat")
              if (i % 2 === 0) await started.recorder.closed
              await started.close()
            }),
          )
        }
        await eventually("descriptors back", async () => (await atRest()) <= before)
        await eventually("children back", () => childrenOf(process.pid).length <= children)
      })
    })
  })
}
