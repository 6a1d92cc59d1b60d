/**
 * From an errno and the step that met it to a SpawnFailed that names the field at fault and the remedy. Runs
 * after a failure only, so it may look at the file system. Never names a value of the environment.
 */
import { statSync } from "node:fs"
import { isAbsolute, join } from "node:path"
import { constants } from "node:os"
import { SpawnFailed, type SpawnErrno } from "../domain/Errors.ts"
import type { Command } from "./Command.ts"

export type SpawnStep = "fork" | "connect" | "cwd" | "exec" | "namespace" | "proc" | "cgroup"

/** The first name of a number is the usual one: EAGAIN, not its alias EWOULDBLOCK. */
const names = new Map(
  Object.entries(constants.errno)
    .map(([name, number]) => [number as number, name] as const)
    .toReversed(),
)

export const errnoName = (errno: number): SpawnErrno => names.get(errno) ?? `errno ${errno}`

type Kind = "missing" | "directory" | "file" | "other"

const kindOf = (path: string): Kind => {
  try {
    const stat = statSync(path)
    return stat.isDirectory() ? "directory" : stat.isFile() ? "file" : "other"
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "missing" : "other"
  }
}

const kib = (bytes: number): string => `${Math.ceil(bytes / 1024)} KiB`

const environmentBytes = (env: Command["env"]): number => {
  let bytes = 0
  for (const name in env) bytes += name.length + Buffer.byteLength(env[name] ?? "") + 2
  return bytes
}

const argumentBytes = (command: Command): number =>
  command.args.reduce((bytes, arg) => bytes + Buffer.byteLength(arg) + 1, 0)

type Said = { readonly field: SpawnFailed["field"]; readonly detail: string }

const exhausted = (errno: SpawnErrno): string => {
  switch (errno) {
    case "EMFILE":
      return "the runtime has no file descriptor left: raise its limit (ulimit -n) or run fewer sessions"
    case "ENFILE":
      return "the system has no file descriptor left: raise fs.file-max or run fewer sessions"
    case "EAGAIN":
      return "the system lets this user start no more processes: raise its limit (ulimit -u, pids.max) or run fewer sessions"
    case "ENOMEM":
      return "there is no memory left to start a process: run fewer sessions or give the machine more"
    default:
      return "the process could not be started"
  }
}

const atCwd = (errno: SpawnErrno, cwd: string): Said => {
  const shown = JSON.stringify(cwd)
  switch (errno) {
    case "ENOENT":
      return { field: "cwd", detail: `the working directory ${shown} does not exist: create it or name another` }
    case "ENOTDIR":
      return { field: "cwd", detail: `the working directory ${shown} is not a directory: name a directory` }
    case "EACCES":
      return { field: "cwd", detail: `the working directory ${shown} may not be entered: check its permissions` }
    default:
      return { field: "cwd", detail: `the working directory ${shown} could not be entered` }
  }
}

const atExec = (errno: SpawnErrno, command: Command): Said => {
  const shown = JSON.stringify(command.command)
  const path = !command.command.includes("/")
    ? undefined
    : isAbsolute(command.command)
      ? command.command
      : join(command.cwd, command.command)
  const kind = path === undefined ? "missing" : kindOf(path)
  switch (errno) {
    case "ENOENT":
      if (kind === "file") {
        return {
          field: "command",
          detail: `${shown} exists, but the interpreter or loader that it names does not: check its first line`,
        }
      }
      return path === undefined
        ? {
            field: "command",
            detail: `the command ${shown} is not in the session's PATH: install it, correct its name, or give its path`,
          }
        : { field: "command", detail: `the command ${shown} does not exist: check the path` }
    case "EACCES":
      return {
        field: "command",
        detail:
          kind === "directory"
            ? `the command ${shown} is a directory: name a program`
            : `the command ${shown} is not executable by this user: make it so (chmod +x) or start its interpreter`,
      }
    case "ENOTDIR":
      return { field: "command", detail: `a part of the path of ${shown} is not a directory: check the path` }
    case "ENOEXEC":
      return {
        field: "command",
        detail: `${shown} is in no format that this system can run: give a script a first line such as #!/bin/sh, or check that it was built for this machine`,
      }
    case "E2BIG": {
      const args = argumentBytes(command)
      const env = environmentBytes(command.env)
      return {
        field: env > args ? "env" : "args",
        detail: `arguments (${kib(args)}) and environment (${kib(env)}) are more than the system passes to a program: pass them through a file or stdin`,
      }
    }
    case "ETXTBSY":
      return { field: "command", detail: `the command ${shown} is being written right now: try again` }
    case "ELOOP":
      return { field: "command", detail: `the path of ${shown} has too many symbolic links: check them` }
    case "ETIMEDOUT":
      return {
        field: "command",
        detail: `${shown} was not started in time: the machine is overloaded, or the disk that holds it does not answer`,
      }
    case "ENAMETOOLONG":
      return { field: "command", detail: "the command's name is longer than the system allows" }
    default:
      return { field: "command", detail: `the command ${shown} could not be run` }
  }
}

/** It held when it was tried, or nobody could try it. */
const atLevel = (step: SpawnStep, errno: SpawnErrno): Said => {
  switch (step) {
    case "cgroup":
      return {
        field: "containment",
        detail: `a cgroup for the session could not be made or joined: see what is delegated to the runtime, or ask for "guard"`,
      }
    case "proc":
      return { field: "containment", detail: `/proc could not be mounted in the session's namespace: ask for "guard"` }
    default:
      return {
        field: "containment",
        detail:
          errno === "ENOSPC"
            ? "no more namespaces are allowed: raise user.max_pid_namespaces and user.max_user_namespaces, or run fewer sessions"
            : `a namespace for the session could not be made: ask for "guard"`,
      }
  }
}

export const diagnoseSpawn = (command: Command, step: SpawnStep, errno: SpawnErrno): SpawnFailed => {
  const said: Said =
    step === "cwd"
      ? atCwd(errno, command.cwd)
      : step === "namespace" || step === "proc" || step === "cgroup"
        ? atLevel(step, errno)
        : step === "exec" && errno !== "ENOMEM" && errno !== "EAGAIN" && errno !== "EMFILE"
          ? atExec(errno, command)
          : { field: "command", detail: exhausted(errno) }
  return new SpawnFailed({ command: command.command, errno, ...said })
}

/** Larger requests are refused before they travel: no system that we know passes so much to a program. */
const mostBytes = 32 * 1024 * 1024

/** What can be said of a command before anything is started; undefined: nothing is wrong so far. */
export const preflight = (command: Command): SpawnFailed | undefined => {
  const invalid = (field: SpawnFailed["field"], detail: string) =>
    new SpawnFailed({ command: command.command, field, errno: "EINVAL", detail })
  if (command.command === "") return diagnoseSpawn(command, "exec", "ENOENT")
  if (command.command.includes("\0")) return invalid("command", "must not contain a NUL byte")
  if (command.cwd === "" || command.cwd.includes("\0")) return invalid("cwd", "must be a path without a NUL byte")
  let size = 0
  for (const arg of command.args) {
    if (arg.includes("\0")) return invalid("args", "an argument must not contain a NUL byte")
    size += arg.length
  }
  for (const name in command.env) {
    const value = command.env[name] ?? ""
    if (name === "" || name.includes("=") || name.includes("\0") || value.includes("\0")) {
      return invalid("env", "a variable's name must not be empty nor hold '=' or NUL, its value no NUL")
    }
    size += name.length + value.length
  }
  return size > mostBytes ? diagnoseSpawn(command, "exec", "E2BIG") : undefined
}
