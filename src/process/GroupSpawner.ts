/**
 * The declared fallback where there is no guard: Node's own spawn with a process group for each command. It
 * reaches the group and no further: a descendant that calls setsid, or SIGKILL of the runtime, is beyond it. Where the
 * runtime's process ends otherwise, the groups end with it.
 */
import { spawn, type ChildProcess } from "node:child_process"
import { closeSync, openSync, readSync, statSync } from "node:fs"
import type { Socket } from "node:net"
import { isAbsolute, join } from "node:path"
import type { SpawnErrno, SpawnFailed } from "../domain/Errors.ts"
import type { Signal } from "../domain/SessionSpec.ts"
import { atExit } from "./AtExit.ts"
import type { Command } from "./Command.ts"
import { PipedSubprocess, type ReportDefect } from "./PipedSubprocess.ts"
import { allPids, processStat, startTimeOf } from "./ProcessIdentity.ts"
import type { ProcessLedger } from "./ProcessLedger.ts"
import { diagnoseSpawn, preflight } from "./SpawnDiagnosis.ts"
import type { SubprocessHandlers } from "./Subprocess.ts"

/** What of the group is left this long after SIGKILL, in ms, is reported as a survivor. */
const unkillableMs = 5_000

export interface GroupHost {
  readonly ledger: ProcessLedger
  readonly live: Set<GroupSubprocess>
  readonly reportDefect: ReportDefect
}

/** Members of a process group that are no zombies, where /proc tells; otherwise the leader stands for all. */
const membersOf = (group: number): ReadonlyArray<number> => {
  const pids = allPids()
  if (pids.length === 0) return [group]
  return pids.filter((pid) => {
    const stat = processStat(pid)
    return stat !== undefined && stat.group === group && stat.state !== "Z"
  })
}

export class GroupSubprocess extends PipedSubprocess {
  readonly containment = "group"
  /** Number of its line in the ledger. */
  ledgerEntry = 0
  private readonly host: GroupHost
  private child: ChildProcess | undefined
  private killedAt: number | undefined
  /** Takes back what is to be done when this process ends. */
  private endsHere: (() => void) | undefined

  constructor(host: GroupHost, handlers: SubprocessHandlers) {
    super(handlers, host.reportDefect)
    this.host = host
  }

  adopt(child: ChildProcess): void {
    this.child = child
    this.pid = child.pid!
    this.attach("stdin", child.stdin as unknown as Socket)
    this.attach("stdout", child.stdout as unknown as Socket)
    this.attach("stderr", child.stderr as unknown as Socket)
    child.on("exit", (code, signal) => {
      this.leaderExited(
        signal === null
          ? { kind: "exited", code: code ?? 0, at: Date.now() }
          : { kind: "signaled", signal, at: Date.now() },
      )
      // As under a guard: the session's tree ends with its leader.
      this.killTree()
      this.awaitEmptyGroup(1)
    })
    this.endsHere = atExit(() => this.killTree())
    this.host.live.add(this)
    this.host.ledger.complete(this.ledgerEntry, this.pid, startTimeOf(this.pid) ?? 0)
  }

  override discard(): void {
    this.mute()
    if (this.pid !== 0) this.killTree()
    else this.treeEmpty([])
  }

  protected override sendSignal(signal: Signal, target: "group" | "leader"): void {
    if (this.child === undefined || this.exited) return
    try {
      process.kill(target === "group" ? -this.pid : this.pid, signal as NodeJS.Signals)
    } catch {
      // ESRCH: it is gone and its exit is on the way.
    }
  }

  protected override killTree(): void {
    if (this.child === undefined) return
    this.killedAt ??= performance.now()
    try {
      process.kill(-this.pid, "SIGKILL")
    } catch {
      // ESRCH: no member is left.
    }
  }

  protected override abandon(): ReadonlyArray<number> {
    return membersOf(this.pid)
  }

  protected override forget(): void {
    this.child = undefined
    this.endsHere?.()
    this.host.live.delete(this)
    this.host.ledger.end(this.ledgerEntry)
  }

  private awaitEmptyGroup(delay: number): void {
    try {
      process.kill(-this.pid, 0)
    } catch {
      return this.treeEmpty([])
    }
    // Zombies that nobody reaps keep a group's number: only those who live count.
    const patienceEnded = performance.now() - (this.killedAt ?? 0) > unkillableMs
    if (delay >= 16) {
      const members = membersOf(this.pid)
      if (members.length === 0 || patienceEnded) return this.treeEmpty(members)
    }
    setTimeout(() => this.awaitEmptyGroup(Math.min(delay * 2, 100)), delay)
  }
}

/** Where the command would be found, as exec does it; undefined: nowhere. */
const resolveCommand = (command: Command): string | undefined => {
  const candidates = command.command.includes("/")
    ? [isAbsolute(command.command) ? command.command : join(command.cwd, command.command)]
    : (command.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin")
        .split(":")
        .map((directory) => join(isAbsolute(directory) ? directory : join(command.cwd, directory), command.command))
  return candidates.find((path) => {
    try {
      return (statSync(path).mode & 0o111) !== 0
    } catch {
      return false
    }
  })
}

/**
 * execvp hands a text file without `#!` to /bin/sh. No shell runs here that the user did not name, so such
 * a file is refused as exec itself would. Text: no NUL in the first bytes, and no `#!`.
 */
const isPlainText = (path: string): boolean => {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch {
    return false
  }
  try {
    const head = Buffer.alloc(256)
    const bytes = head.subarray(0, readSync(fd, head, 0, head.length, 0))
    return bytes.length < 4 || (!bytes.includes(0) && bytes.toString("latin1", 0, 2) !== "#!")
  } catch {
    return false
  } finally {
    closeSync(fd)
  }
}

const checkCwd = (command: Command): SpawnFailed | undefined => {
  try {
    return statSync(command.cwd).isDirectory() ? undefined : diagnoseSpawn(command, "cwd", "ENOTDIR")
  } catch (error) {
    return diagnoseSpawn(command, "cwd", (error as NodeJS.ErrnoException).code ?? "ENOENT")
  }
}

const exhaustion = new Set<SpawnErrno>(["EAGAIN", "ENOMEM", "EMFILE", "ENFILE"])

const diagnose = (command: Command, error: unknown): SpawnFailed => {
  const errno = (error as NodeJS.ErrnoException).code ?? "EIO"
  if (exhaustion.has(errno)) return diagnoseSpawn(command, "fork", errno)
  // Node says ENOENT and EACCES for the directory as well.
  const cwd = checkCwd(command)
  if (cwd !== undefined) return cwd
  if (errno === "EACCES" && resolveCommand(command) !== undefined && command.command.includes("/") === false) {
    return diagnoseSpawn(command, "cwd", "EACCES")
  }
  return diagnoseSpawn(command, "exec", errno)
}

/** `settle` is called once, never before this returns. */
export const startInGroup = (
  host: GroupHost,
  command: Command,
  handlers: SubprocessHandlers,
  settle: (result: GroupSubprocess | SpawnFailed) => void,
): GroupSubprocess => {
  const subprocess = new GroupSubprocess(host, handlers)
  const fail = (failure: SpawnFailed): GroupSubprocess => {
    queueMicrotask(() => {
      subprocess.discard()
      settle(failure)
    })
    return subprocess
  }
  const early = preflight(command) ?? checkCwd(command)
  if (early !== undefined) return fail(early)
  const path = resolveCommand(command)
  if (path !== undefined && isPlainText(path)) return fail(diagnoseSpawn(command, "exec", "ENOEXEC"))
  subprocess.ledgerEntry = host.ledger.begin(command.session, command.env["CRECHE_RUNTIME"] ?? "")
  host.ledger.flush()
  let child: ChildProcess
  try {
    child = spawn(command.command, command.args, {
      cwd: command.cwd,
      env: command.env,
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
    })
  } catch (error) {
    return fail(diagnose(command, error))
  }
  if (child.pid === undefined) {
    child.on("error", (error) => {
      subprocess.discard()
      settle(diagnose(command, error))
    })
    return subprocess
  }
  child.on("error", () => {})
  subprocess.adopt(child)
  queueMicrotask(() => settle(subprocess))
  return subprocess
}
