/** What `guard --run` promises, in C and in Perl. Run by test/spawn/GuardedCommand.test.ts. */
import { spawn, spawnSync, type SpawnOptions } from "node:child_process"
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { drawSeed, seeded } from "../acceptance/Processes.ts"
import {
  childrenOf,
  eventually,
  fixture,
  freshToken,
  isGone,
  killIfThere,
  pidsWith,
  stateOf,
} from "../process/SpawnerBench.ts"
import { noTerminal, Terminal, Watched } from "../spawn/GuardedCommand.ts"

export const guardedCommandSuite = (form: "native" | "perl", guard: string, skipReason: string) =>
  describe.skipIf(skipReason !== "")(
    `one command under a guard of its own, ${form}${skipReason && ` (${skipReason})`}`,
    () => {
      let token: string
      let scratch: string
      let started: Array<Watched> = []
      beforeEach(() => {
        token = freshToken()
        scratch = mkdtempSync(join(tmpdir(), "creche-run-"))
      })
      afterEach(async () => {
        for (const watched of started) watched.kill()
        started = []
        // The keepers go by themselves; a failed test shall leave nothing either.
        for (const pid of pidsWith(token)) killIfThere(pid)
        rmSync(scratch, { recursive: true, force: true })
      })
      const watch = <W extends Watched>(watched: W): W => {
        started.push(watched)
        return watched
      }
      const run = (words: ReadonlyArray<string>, options = {}) =>
        watch(new Watched(guard, ["--run", ...words], options))
      const shell = (script: string, ...flags: ReadonlyArray<string>) => run([...flags, "--", "sh", "-c", script])
      const nothingLeft = (withinMs = 2_000) =>
        eventually(`nothing left of ${token}`, () => pidsWith(token).length === 0, withinMs).catch((error: Error) => {
          throw new Error(
            `${error.message}: ${spawnSync("ps", ["-eo", "pid,ppid,pgid,sid,stat,wchan:20,args"])
              .stdout.toString()
              .split("\n")
              .filter((l) => l.includes(token))
              .join("\n")}`,
          )
        })
      const keeperOf = (front: Watched) => childrenOf(front.pid).find((pid) => /creche-keeper/.test(commOf(pid)))!
      const commOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, "latin1")
      const hostile = () => run(["--", "sh", fixture("hostile-tree.sh"), scratch, token])

      describe("exits", () => {
        it.each([0, 1, 42, 125, 126, 127, 255])("code %i is the guard's own", async (code) => {
          expect(await shell(`exit ${code}`).ended).toEqual({ code, signal: null })
        })

        it.each(["SIGTERM", "SIGKILL", "SIGINT", "SIGSEGV", "SIGABRT", "SIGUSR1", "SIGPIPE"] as const)(
          "a command that dies by %s takes the guard the same way",
          async (signal) => {
            expect(await shell(`kill -${signal.slice(3)} $$; sleep 1000.${token}`).ended).toEqual({
              code: null,
              signal,
            })
          },
        )

        it("a shell sees 128 and the signal's number", () => {
          expect(spawnSync("sh", ["-c", `"$0" --run -- sh -c 'kill -TERM $$'; exit $?`, guard]).status).toBe(143)
        })

        it.each([
          ["there is none", "creche-no-such-command", 127, "No such file"],
          ["it is no program", "/etc/passwd", 126, "Permission denied"],
          ["it is a directory", "/etc", 126, "Permission denied"],
        ])("where %s it says so and exits as shells do", async (_, command, code, words) => {
          const front = run(["--", command])
          expect(await front.ended).toEqual({ code, signal: null })
          expect(front.err).toContain(`cannot run "${command}": ${words}`)
        })

        it.each([
          ["user", "--uid"],
          ["group", "--gid"],
        ])("where it may not become that %s it says so, and runs nothing", async (_, option) => {
          const root = process.getuid?.() === 0
          const without = root ? ["setpriv", "--bounding-set=-setuid,-setgid"] : ["env"]
          for (let i = 0; i < 10; i++) {
            const words = [guard, "--run", option, root ? "65534" : "0", "--", "touch", join(scratch, "ran")]
            const front = watch(new Watched(without[0]!, [...without.slice(1), ...words]))
            expect(await front.ended).toEqual({ code: 125, signal: null })
            expect(front.err).toContain("Operation not permitted")
          }
          expect(existsSync(join(scratch, "ran"))).toBe(false)
        })

        it.each([
          [["--grace-ms", "soon", "--", "true"], "--grace-ms"],
          [["--signal", "NONE", "--", "true"], "--signal"],
          [["--rewrite", "TERM", "--", "true"], "--rewrite"],
          [["--rewrite", "TERM:NOPE", "--", "true"], "--rewrite"],
          [["--parent", "-1", "--", "true"], "--parent"],
          [["--nonsense", "1", "--", "true"], "nonsense"],
          [["--grace-ms"], "grace-ms"],
          [["--"], "COMMAND"],
          [[], "COMMAND"],
          [["true"], "--"],
        ])("%j is wrong usage: it says what, exits 2 and runs nothing", async (words, named) => {
          const front = run(words)
          expect(await front.ended).toEqual({ code: 2, signal: null })
          expect(front.err).toContain("creche guard: ")
          expect(front.err).toContain(named)
        })
      })

      describe("what reaches the command", () => {
        it("descriptors, and no other than those of the caller", async () => {
          const file = openSync(join(scratch, "seven"), "w+")
          const stdio: SpawnOptions["stdio"] = ["pipe", "pipe", "pipe", "ignore", file]
          const script = "echo to four >&4; exec ls /proc/self/fd"
          const front = run(["--", "sh", "-c", script], { stdio })
          const plain = watch(new Watched("sh", ["-c", script], { stdio }))
          expect(await front.ended).toEqual({ code: 0, signal: null })
          await plain.ended
          closeSync(file)
          expect(readFileSync(join(scratch, "seven"), "utf8")).toBe("to four\nto four\n")
          expect(front.out).toBe(plain.out)
        })

        it("a closed stdin stays closed", () => {
          const said = spawnSync("sh", [
            "-c",
            `exec "$0" --run -- sh -c 'if [ -e /proc/self/fd/0 ]; then echo open; else echo closed; fi' <&-`,
            guard,
          ])
          const plain = spawnSync("sh", [
            "-c",
            `exec sh -c 'if [ -e /proc/self/fd/0 ]; then echo open; else echo closed; fi' <&-`,
          ])
          expect(said.stdout.toString()).toBe(plain.stdout.toString())
        })

        it("directory, environment, arguments, umask and limits are the caller's", async () => {
          const script = `umask 027; ulimit -n 99; cd "$1"; exec "$0" --run -- sh -c 'pwd; umask; ulimit -n; echo "$A"; printf "%s|" "$@"' sh 'a  b' '' '*'`
          const front = watch(
            new Watched("sh", ["-c", script, guard, scratch], { env: { PATH: process.env["PATH"], A: "x\ny" } }),
          )
          expect(await front.ended).toEqual({ code: 0, signal: null })
          expect(front.out).toBe(`${scratch}\n0027\n99\nx\ny\na  b||*|`)
        })

        it("ignored and blocked signals are as the caller left them", async () => {
          const front = watch(
            new Watched("sh", ["-c", `trap '' HUP USR1; exec "$0" --run -- cat /proc/self/status`, guard]),
          )
          await front.ended
          expect(/^SigIgn:\s*(\S+)$/m.exec(front.out)?.[1]).toMatch(/^0+201$/)
          expect(/^SigBlk:\s*(\S+)$/m.exec(front.out)?.[1]).toMatch(/^0+$/)
        })

        it("the end of its output is seen when the command closes it, not when the guard ends", async () => {
          const front = shell(`echo said; exec >&- 2>&-; sleep 1000.${token}`)
          const closed = new Promise((resolve) => front.child.stdout!.once("end", () => resolve(true)))
          expect(await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 5_000))])).toBe(true)
          expect(isGone(front.pid)).toBe(false)
        })

        it("another name as the first argument", async () => {
          const front = run(["--argv0", "another", "--", "sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline"])
          await front.ended
          expect(front.out).toMatch(/^another -c/)
        })

        it("the guard holds neither the directory nor the terminal's descriptors", async () => {
          const front = run(["--", "sleep", `1000.${token}`], { cwd: scratch })
          await eventually("it runs", () => pidsWith(token).length >= 3)
          await eventually("the directory is left", () => readlink(front.pid, "cwd") === "/")
          expect(readlink(keeperOf(front), "cwd")).toBe("/")
          for (const pid of [front.pid, keeperOf(front)])
            await eventually(
              "no pipe of the caller's",
              () =>
                spawnSync("ls", ["-l", `/proc/${pid}/fd`])
                  .stdout.toString()
                  .match(/ [012] -> /) === null,
            )
        })
        const readlink = (pid: number, name: string) =>
          spawnSync("readlink", [`/proc/${pid}/${name}`])
            .stdout.toString()
            .trim()
      })

      describe("signals", () => {
        it.each([
          "SIGTERM",
          "SIGINT",
          "SIGHUP",
          "SIGQUIT",
          "SIGUSR1",
          "SIGUSR2",
          "SIGWINCH",
          "SIGCONT",
          "SIGALRM",
        ] as const)("%s for the guard reaches the command, once", async (signal) => {
          const name = signal.slice(3)
          const front = shell(`n=0; trap 'n=$((n+1)); echo got $n' ${name}; echo ready; while :; do sleep 0.02; done`)
          await front.said("ready")
          front.child.kill(signal)
          await front.said("got 1")
          await new Promise((resolve) => setTimeout(resolve, 60))
          expect(front.out).not.toContain("got 2")
        })

        it("a signal for the guard's whole group reaches the command once as well", async () => {
          const script = `n=0; trap 'n=$((n+1)); echo got $n' TERM; echo ready; while :; do sleep 0.02; done`
          const front = run(["--", "sh", "-c", script], { detached: true })
          await front.said("ready")
          process.kill(-front.pid, "SIGTERM")
          await front.said("got 1")
          await new Promise((resolve) => setTimeout(resolve, 60))
          expect(front.out).not.toContain("got 2")
        })

        it("with --group the command's group hears it, without the command alone", async () => {
          const child = `sh -c 'trap "echo child; exit" TERM; echo ready; while :; do sleep 0.02; done'`
          const script = `trap 'echo leader' TERM; ${child} & while :; do wait; done`
          for (const flags of [[], ["--group"]]) {
            const front = shell(script, ...flags)
            await front.said("ready")
            front.child.kill("SIGTERM")
            await front.said("leader")
            if (flags.length > 0) await front.said("child")
            else {
              await new Promise((resolve) => setTimeout(resolve, 60))
              expect(front.out).not.toContain("child")
            }
            front.kill()
          }
        })

        it("--rewrite passes on another one, or none", async () => {
          const script = `trap 'echo int' INT; trap 'echo term' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.02; done`
          const front = shell(script, "--rewrite", "TERM:INT", "--rewrite", "SIGUSR1:0")
          await front.said("ready")
          front.child.kill("SIGUSR1")
          front.child.kill("SIGTERM")
          await front.said("int")
          expect(front.out).not.toMatch(/term|usr1/)
        })

        it("one that is rewritten to SIGKILL ends everything at once, and the guard after it", async () => {
          const script = `setsid sleep 1000.${token} & trap '' TERM; echo ready; while :; do sleep 0.02; done`
          const front = shell(script, "--rewrite", "TERM:KILL", "--grace-ms", "60000")
          await front.said("ready")
          process.kill(keeperOf(front), "SIGSTOP")
          process.kill(front.pid, "SIGTERM")
          expect(await front.ended).toEqual({ code: null, signal: "SIGKILL" })
          expect(pidsWith(token)).toEqual([])
        })

        it("a signal that comes at once is not lost", async () => {
          for (let i = 0; i < 40; i++) {
            const front = run(["--", "sleep", `1000.${token}`])
            front.child.kill("SIGTERM")
            expect(await front.ended).toEqual({ code: null, signal: "SIGTERM" })
          }
          await nothingLeft()
        })
      })

      describe("nothing is left", () => {
        it("when the command has ended: setsid, daemons, wiped environment, SIGTERM ignored", async () => {
          const front = hostile()
          await front.said("ready")
          process.kill(Number(readFileSync(join(scratch, "leader"), "utf8")), "SIGKILL")
          expect(await front.ended).toEqual({ code: null, signal: "SIGKILL" })
          // Not soon: when the guard has ended.
          expect(pidsWith(token)).toEqual([])
        })

        it.each([
          ["the guard is killed", (front: Watched) => front.child.kill("SIGKILL")],
          ["the guard's whole group is killed", (front: Watched) => process.kill(-front.pid, "SIGKILL")],
          ["the keeper is killed", (front: Watched) => process.kill(keeperOf(front), "SIGKILL")],
        ])("when %s", async (_, kill) => {
          const front = run(["--", "sh", fixture("hostile-tree.sh"), scratch, token], { detached: true })
          await front.said("ready")
          kill(front)
          expect(await front.ended).toEqual({ code: null, signal: "SIGKILL" })
          await nothingLeft()
        })

        it("when guard and keeper are killed together, the command goes all the same", async () => {
          const front = run(["--", "sleep", `1000.${token}`])
          await eventually("it runs", () => pidsWith(token).length >= 3)
          const keeper = keeperOf(front)
          process.kill(front.pid, "SIGSTOP")
          process.kill(keeper, "SIGKILL")
          process.kill(front.pid, "SIGKILL")
          await nothingLeft()
        })

        it.each(["SIGKILL", "SIGTERM", "SIGHUP"] as const)("when the caller dies by %s", async (signal) => {
          const caller = watch(
            new Watched("sh", ["-c", `"$0" --run -- sh "$@"; true`, guard, fixture("hostile-tree.sh"), scratch, token]),
          )
          await caller.said("ready")
          process.kill(caller.pid, signal)
          await nothingLeft()
        })

        it("when the caller dies while the guard is stopped", async () => {
          const caller = watch(
            new Watched("sh", ["-c", `"$0" --run -- sh "$@"; true`, guard, fixture("hostile-tree.sh"), scratch, token]),
          )
          await caller.said("ready")
          const front = childrenOf(caller.pid).find((pid) => /creche-guard/.test(commOf(pid)))!
          process.kill(front, "SIGSTOP")
          caller.kill()
          await eventually(
            "only the stopped one is there",
            () => pidsWith(token).filter((pid) => pid !== front).length === 0,
          )
          process.kill(front, "SIGKILL")
          await nothingLeft()
        })

        it("when the caller is killed at any moment after the start", async () => {
          const random = seeded(drawSeed("guarded callers"))
          for (let round = 0; round < (form === "native" ? 30 : 10); round++) {
            const caller = watch(
              new Watched(process.execPath, [
                "-e",
                `const { spawn } = require("node:child_process")
               spawn(process.argv[1], ["--run", "--parent", String(process.pid), "--", "sh", "-c", "setsid sleep " + process.argv[2] + " & exec sleep " + process.argv[2]], { stdio: "ignore" })
               require("node:fs").writeSync(1, "spawned"); setInterval(() => {}, 1000)`,
                guard,
                `1000.${token}`,
              ]),
            )
            await caller.said("spawned")
            const until = performance.now() + (round < 10 ? 0 : random() * 6)
            while (performance.now() < until) continue
            caller.kill()
            await caller.ended
            await nothingLeft()
          }
        }, 120_000)

        it("a caller that is not the parent any more starts nothing", async () => {
          const front = run(["--parent", String(process.ppid), "--", "touch", join(scratch, "ran")])
          expect((await front.ended).code).toBe(125)
          expect(front.err).toContain(`creche guard: ${process.ppid} (--parent) did not start it`)
          expect(existsSync(join(scratch, "ran"))).toBe(false)
        })

        it("what is left gets the signal first where there is a grace, and no longer than that", async () => {
          const polite = `sh -c 'trap "echo polite >>\\"$1\\"; exit" TERM; echo >>"$1"; while :; do sleep 0.02; done' ${token} "$0"`
          const file = join(scratch, "said")
          const front = run([
            "--grace-ms",
            "5000",
            "--",
            "sh",
            "-c",
            `setsid ${polite} & while [ ! -s "$0" ]; do sleep 0.01; done`,
            file,
          ])
          expect(await front.ended).toEqual({ code: 0, signal: null })
          expect(readFileSync(file, "utf8")).toContain("polite")
          const began = performance.now()
          const stubborn = run([
            "--grace-ms",
            "100",
            "--signal",
            "INT",
            "--",
            "sh",
            "-c",
            `(trap '' INT; echo >"$0"; exec sleep 1000.${token}) & while [ ! -s "$0" ]; do sleep 0.01; done; exit 3`,
            join(scratch, "stubborn"),
          ])
          expect(await stubborn.ended).toEqual({ code: 3, signal: null })
          expect(performance.now() - began).toBeGreaterThan(95)
          await nothingLeft(0)
        })

        it("where the caller dies, the grace is the command's", async () => {
          const file = join(scratch, "said")
          const script = `"$0" --run --grace-ms 5000 -- sh -c 'trap "echo polite >$1; exit" TERM; echo ready; while :; do sleep 0.02; done' ${token} "$1"; true`
          const caller = watch(new Watched("sh", ["-c", script, guard, file]))
          await caller.said("ready")
          caller.kill()
          await eventually("it was asked", () => {
            try {
              return readFileSync(file, "utf8") === "polite\n"
            } catch {
              return false
            }
          })
          await nothingLeft()
        })

        it("a command that forks as it is killed is ended as well", async () => {
          const front = run(["--", "sh", fixture("hydra.sh"), token])
          await eventually("it has grown", () => pidsWith(token).length > 6)
          front.kill()
          await nothingLeft(10_000)
        })

        it("and no zombie of a stray stays while the command runs", async () => {
          const front = shell(`for i in 1 2 3 4 5; do (setsid true & ) ; done; echo done; exec sleep 1000.${token}`)
          await front.said("done")
          const keeper = keeperOf(front)
          await eventually("they are reaped", () => childrenOf(keeper).every((pid) => stateOf(pid) !== "Z"))
        })
      })

      describe.skipIf(noTerminal !== "")(`in a terminal${noTerminal && ` (${noTerminal})`}`, () => {
        const bash = async () => {
          const terminal = watch(new Terminal("bash", ["--norc", "--noprofile", "-i"]))
          terminal.type(`G='${guard}'; stty -echo; echo be''gun\n`)
          await terminal.said("begun")
          return terminal
        }
        const counting = `n=0
trap 'n=$((n+1)); echo int $n.' INT
trap 'n=$((n+1)); echo winch $n.' WINCH
echo ready
while :; do sleep 0.02; done
`
        const count = (terminal: Terminal) => {
          writeFileSync(join(scratch, "counting"), counting)
          terminal.type(`$G --run -- sh ${join(scratch, "counting")} ${token}\n`)
          return terminal.said("ready")
        }

        it("Ctrl-C reaches the command once", async () => {
          const terminal = await bash()
          await count(terminal)
          terminal.type("\x03")
          await terminal.said("int 1.")
          terminal.type("\x03")
          await terminal.said("int 2.")
          await new Promise((resolve) => setTimeout(resolve, 60))
          expect(terminal.out).not.toContain("int 3.")
        })

        it("a command that dies of Ctrl-C gives the terminal back", async () => {
          const terminal = await bash()
          terminal.type(`$G --run -- sh -c 'echo rea""dy; exec sleep 1000.${token}'; echo "code $?."\n`)
          await terminal.said("ready")
          terminal.type("\x03")
          await nothingLeft()
          terminal.type('echo "code $?."\n')
          await terminal.said("code 130.")
        })

        it("a change of the window's size reaches it once", async () => {
          const terminal = await bash()
          await count(terminal)
          terminal.resize(30, 90)
          await terminal.said("winch 1.")
          await new Promise((resolve) => setTimeout(resolve, 60))
          expect(terminal.out).not.toContain("winch 2.")
        })

        it("Ctrl-Z stops it, the shell sees that, and fg and bg go on with it", async () => {
          const terminal = await bash()
          terminal.type(
            `$G --run -- sh -c 'echo rea""dy; while read line; do echo "got $line."; done; exit 7' ${token}\n`,
          )
          await terminal.said("ready")
          for (const word of ["one", "two", "three", "four", "five"]) {
            terminal.type("\x1a")
            await eventually(
              "the shell took its terminal back",
              () => {
                terminal.type("echo sh''ell\n")
                return terminal.out.includes("shell")
              },
              20_000,
            )
            expect(terminal.out).toMatch(/Stopped/)
            terminal.type("fg\n")
            await eventually("it reads again", () => {
              terminal.type(`${word}\n`)
              return terminal.out.includes(`got ${word}.`)
            })
            terminal.out = ""
          }
          terminal.type("\x04")
          await nothingLeft()
          terminal.type('echo "code $?."\n')
          await terminal.said("code 7.")
        })

        it("in the background it is stopped when it reads, and comes back with fg", async () => {
          const terminal = await bash()
          terminal.type(`$G --run -- sh -c 'read line; echo "got $line."' ${token} &\n`)
          await eventually("it is stopped", () => {
            terminal.type("jobs\n")
            return /Stopped/.test(terminal.out)
          })
          terminal.type("fg\n")
          await eventually("it reads", () => {
            terminal.type("word\n")
            return terminal.out.includes("got word.")
          })
        })

        it("its neighbours in a pipeline keep the terminal", async () => {
          const terminal = await bash()
          terminal.type(
            `$G --run -- sh -c 'echo from guard; exec sleep 1000.${token}' | sh -c 'read line; read key </dev/tty; echo "$line, key $key."'\n`,
          )
          await eventually("the key arrives", () => {
            terminal.type("k\n")
            return terminal.out.includes("from guard, key k.")
          })
          terminal.type("\x03")
          await nothingLeft()
        })

        it("as the terminal's first process it has no job control to lose, and a hang-up ends everything", async () => {
          const terminal = watch(
            new Terminal(guard, [
              "--run",
              "--",
              "sh",
              "-c",
              `echo rea''dy; read line; echo "got $line."; exec sleep 1000.${token}`,
            ]),
          )
          await terminal.said("ready")
          terminal.type("\x1a")
          terminal.type("word\n")
          await terminal.said("got word.")
          terminal.kill()
          await nothingLeft()
        })

        it("a shell under it has job control of its own", async () => {
          const terminal = watch(new Terminal(guard, ["--run", "--", "bash", "--norc", "--noprofile", "-i"]))
          terminal.type(`stty -echo; echo be''gun ${token}\n`)
          await terminal.said("begun")
          terminal.type(`sleep 1000.${token}\n`)
          await eventually("it sleeps", () => pidsWith(`1000.${token}`).length > 0)
          terminal.type("\x1a")
          await terminal.said("Stopped")
          terminal.type("exit\nexit\n")
          await terminal.ended
          await nothingLeft()
        })
      })

      describe("as the first process of a namespace", () => {
        const unshare =
          process.getuid?.() === 0
            ? ["--pid", "--fork", "--mount-proc"]
            : ["--user", "--map-current-user", "--pid", "--fork", "--mount-proc"]
        const noNamespace =
          spawnSync("unshare", [...unshare, "true"]).status === 0 ? "" : "no namespace can be made here"

        it("reaps, passes signals on, and exits with 128 and the signal's number", async (context) => {
          context.skip(noNamespace !== "", noNamespace)
          const script = `echo pid $PPID; for i in 1 2 3; do (setsid true &); done; trap 'echo term; kill -KILL $$' TERM; echo ready; while :; do sleep 0.02; done`
          const front = watch(new Watched("unshare", [...unshare, guard, "--run", "--", "sh", "-c", script]))
          await front.said("ready")
          const [first] = childrenOf(front.pid)
          await eventually("no zombie", () => childrenOf(childrenOf(first!)[0]!).every((pid) => stateOf(pid) !== "Z"))
          process.kill(first!, "SIGTERM")
          expect(await front.ended).toEqual({ code: 137, signal: null })
          expect(front.out).toContain("term")
        })
      })

      it("also where there is no pidfd: the caller is looked for", async (context) => {
        const filter = join(scratch, "filter.py")
        writeFileSync(filter, noPidfd)
        const probe = spawnSync("python3", [filter, "true"])
        context.skip(
          probe.status !== 0,
          `pidfd_open cannot be taken away here: ${probe.stderr.toString().trim().split("\n").at(-1) ?? ""}`,
        )
        const caller = watch(
          new Watched("python3", [
            filter,
            "sh",
            "-c",
            `"$0" --run -- sh "$@"; true`,
            guard,
            fixture("hostile-tree.sh"),
            scratch,
            token,
          ]),
        )
        await caller.said("ready")
        caller.kill()
        await nothingLeft()
      })

      it("a hundred in a row, or a thousand, leave neither process nor zombie", async () => {
        const before = childrenOf(process.pid).length
        const script = `i=0; while [ $i -lt ${form === "native" ? 1000 : 100} ]; do "$0" --run -- true ${token} || exit 1; i=$((i+1)); done`
        const loop = spawn("sh", ["-c", script, guard], { stdio: "ignore" })
        expect(await new Promise((resolve) => loop.once("exit", resolve))).toBe(0)
        expect(childrenOf(process.pid).length).toBeLessThanOrEqual(before)
        await nothingLeft()
      })
    },
  )

/** A filter of system calls under which pidfd_open does not exist: x86_64 and aarch64 have the same number for it. */
const noPidfd = `
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
nr, enosys = 434, 38
code = [(0x20, 0, 0, 0), (0x15, 0, 1, nr), (0x06, 0, 0, 0x00050000 | enosys), (0x06, 0, 0, 0x7fff0000)]
program = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(program)
class Filter(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
f = Filter(len(code), ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(f), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execvp(sys.argv[1], sys.argv[1:])
`
