/**
 * Word for the service manager that started this process, where there is one that listens (systemd's NOTIFY_SOCKET). Node
 * has no datagrams on unix sockets, so the guard passes messages on, or, where there is no guard, systemd-notify does. What
 * cannot be told is no failure: a service does not end because nobody hears it. Used by `transport/ServiceNotices`.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { findGuardBinary } from "./GuardBinary.ts"
import { processStat } from "./ProcessIdentity.ts"

type Env = Record<string, string | undefined>

export interface ServiceManager {
  /** `READY`, `STATUS`, `STOPPING`, `WATCHDOG` and the like; see sd_notify(3). Values are one line. */
  readonly notify: (assignments: Readonly<Record<string, string>>) => void
  /** Within so many milliseconds it wants to hear `WATCHDOG=1` again and again; null: it does not. */
  readonly watchdogMs: number | null
  readonly close: () => void
}

const variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] as const

/** The watchdog is meant for this process, or for the init in front of it, which under `--init` is two processes above. */
const watchdogOf = ({ WATCHDOG_USEC, WATCHDOG_PID }: Env): number | null => {
  const micros = Number(WATCHDOG_USEC)
  if (!Number.isFinite(micros) || micros <= 0) return null
  const chain = [process.pid, process.ppid, processStat(process.ppid)?.parent]
  const isOurs = WATCHDOG_PID === undefined || chain.includes(Number(WATCHDOG_PID))
  return isOurs ? micros / 1000 : null
}

const oneLine = (text: string): string => text.replace(/\p{Cc}+/gu, " ").slice(0, 500)

const textOf = (assignments: Readonly<Record<string, string>>): string =>
  Object.entries(assignments)
    .map(([name, value]) => `${name}=${oneLine(value)}`)
    .join("\n")

/**
 * Undefined: nobody listens. Takes the variables out of `env`, so that no session is handed them: what a child says there
 * would pass for the runtime's word.
 */
export const serviceManager = (env: Env = process.env): ServiceManager | undefined => {
  const { NOTIFY_SOCKET } = env
  const watchdogMs = watchdogOf(env)
  for (const name of variables) delete env[name]
  if (NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === "") return undefined
  const guard = findGuardBinary(env)
  return guard.found
    ? { ...throughGuard(guard.path, NOTIFY_SOCKET), watchdogMs }
    : { ...throughCommand(NOTIFY_SOCKET), watchdogMs }
}

const throughGuard = (binary: string, socket: string): Omit<ServiceManager, "watchdogMs"> => {
  let helper: ChildProcess | undefined
  let isClosed = false
  const running = (): ChildProcess => {
    if (helper !== undefined) return helper
    const made = spawn(binary, ["--notify"], { env: { NOTIFY_SOCKET: socket }, stdio: ["pipe", "ignore", "ignore"] })
    const gone = () => {
      if (helper === made) helper = undefined
    }
    made.on("error", gone)
    made.on("exit", gone)
    // Its end is noticed by the exit.
    made.stdin!.on("error", () => {})
    made.unref()
    return (helper = made)
  }
  return {
    notify: (assignments) => {
      if (!isClosed) running().stdin!.write(`${textOf(assignments)}\0`)
    },
    close: () => {
      isClosed = true
      helper?.stdin!.end()
    },
  }
}

const throughCommand = (socket: string): Omit<ServiceManager, "watchdogMs"> => ({
  notify: (assignments) => {
    const words = Object.entries(assignments).map(([name, value]) => `${name}=${oneLine(value)}`)
    const { PATH } = process.env
    spawn("systemd-notify", words, { env: { PATH, NOTIFY_SOCKET: socket }, stdio: "ignore" })
      .on("error", () => {})
      .unref()
  },
  close: () => {},
})
