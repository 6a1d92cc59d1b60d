/**
 * The bytes between the runtime and `native/guard`, encoded and decoded: pure, no I/O. Change both files
 * together and count `protocolVersion` up. Numbers are in the machine's own order; all machines are one.
 */
import { endianness } from "node:os"
import type { ResourceLimits } from "./Command.ts"

export const protocolVersion = 4
export const tokenBytes = 16

const little = endianness() === "LE"
const headBytes = 4 + tokenBytes + 5 * 4
const eventBytes = 16

export interface GuardRequest {
  readonly id: number
  /** `tokenBytes` random bytes that the session guard opens its three connections with. */
  readonly token: Buffer
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Default `guard`. */
  readonly level?: GuardLevel
  /** A directory that the guard makes, at the level `cgroup`. */
  readonly cgroup?: string
  readonly limits?: ResourceLimits
}

/** What a guard can hold a tree by. */
export type GuardLevel = "guard" | "namespace" | "cgroup"
const levelNumbers = { guard: 1, namespace: 2, cgroup: 3 } as const

/** KiB travel, in 32 bits; less than one is one, since 0 means that there is no limit. */
const kib = (bytes: number | undefined): number =>
  bytes === undefined ? 0 : Math.min(Math.max(1, Math.floor(bytes / 1024)), 0xffff_ffff)

const putU32 = (into: Buffer, value: number, at: number): number =>
  little ? into.writeUInt32LE(value, at) : into.writeUInt32BE(value, at)

/**
 * u32 bytes that follow; u32 id; token; u32 argc; u32 envc; u32 level; u32 processes; u32 memory in KiB; cwd, cgroup,
 * arguments, environment, each with its NUL.
 */
export const encodeRequest = (request: GuardRequest): Buffer => {
  let text = `${request.cwd}\0${request.cgroup ?? ""}\0${request.command}\0`
  for (const arg of request.args) text += `${arg}\0`
  let variables = 0
  for (const name in request.env) {
    text += `${name}=${request.env[name]}\0`
    variables++
  }
  const textBytes = Buffer.byteLength(text)
  const encoded = Buffer.allocUnsafe(4 + headBytes + textBytes)
  putU32(encoded, headBytes + textBytes, 0)
  putU32(encoded, request.id, 4)
  request.token.copy(encoded, 8)
  putU32(encoded, 1 + request.args.length, 8 + tokenBytes)
  putU32(encoded, variables, 12 + tokenBytes)
  putU32(encoded, levelNumbers[request.level ?? "guard"], 16 + tokenBytes)
  putU32(encoded, Math.min(request.limits?.processes ?? 0, 0xffff_ffff), 20 + tokenBytes)
  putU32(encoded, kib(request.limits?.memoryBytes), 24 + tokenBytes)
  encoded.write(text, 4 + headBytes)
  return encoded
}

/** Asks the server for a guard in advance: no argument, so no command. It takes a request over its stdin later. */
export const encodeSpareRequest = (id: number, token: Buffer): Buffer => {
  const encoded = Buffer.alloc(4 + headBytes + 2)
  putU32(encoded, headBytes + 2, 0)
  putU32(encoded, id, 4)
  token.copy(encoded, 8)
  return encoded
}

/** Asks the server to let every guard go on that somebody has stopped. */
export const encodeContinue = (): Buffer => encodeSpareRequest(0, Buffer.alloc(tokenBytes))

/** A session guard's fifo takes these: a signal for the process group or for the leader alone, or the end of the tree. */
export type GuardCommand = { readonly type: "group" | "leader"; readonly signal: number } | { readonly type: "kill" }

export const encodeCommand = (command: GuardCommand): Buffer => {
  const encoded = Buffer.alloc(8)
  putU32(encoded, command.type === "group" ? 1 : command.type === "leader" ? 2 : 3, 0)
  putU32(encoded, command.type === "kill" ? 0 : command.signal, 4)
  return encoded
}

export const guardSteps = ["fork", "connect", "cwd", "exec", "namespace", "proc", "cgroup"] as const
export type GuardStep = (typeof guardSteps)[number]

export type GuardEvent =
  | { readonly type: "hello"; readonly protocol: number; readonly subreaper: boolean }
  | { readonly type: "spawned"; readonly id: number; readonly pid: number; readonly guardPid: number }
  | { readonly type: "failed"; readonly id: number; readonly errno: number; readonly step: GuardStep }
  | { readonly type: "exited"; readonly id: number; readonly code: number }
  | { readonly type: "signaled"; readonly id: number; readonly signal: number }
  | { readonly type: "survivor"; readonly id: number; readonly pid: number }
  | { readonly type: "closed"; readonly id: number; readonly survivors: number }
  /** Field 22 of the command's /proc/PID/stat: with the pid, an identity that no later process has. */
  | { readonly type: "started"; readonly id: number; readonly startTime: number }
  | { readonly type: "lost"; readonly id: number }
  /** The tree took more than its limit and is being ended. `amount`: bytes, or processes. */
  | {
      readonly type: "limit"
      readonly id: number
      readonly limit: keyof ResourceLimits
      readonly amount: number
    }
  /** What a start at the level `namespace` came to; null: it worked. */
  | { readonly type: "probed"; readonly failed: { readonly step: GuardStep; readonly errno: number } | null }

const decodeEvent = (bytes: Buffer, at: number): GuardEvent | undefined => {
  const id = little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)
  const type = little ? bytes.readUInt32LE(at + 4) : bytes.readUInt32BE(at + 4)
  const a = little ? bytes.readInt32LE(at + 8) : bytes.readInt32BE(at + 8)
  const b = little ? bytes.readInt32LE(at + 12) : bytes.readInt32BE(at + 12)
  switch (type) {
    case 1:
      return { type: "hello", protocol: a, subreaper: b === 1 }
    case 2:
      return { type: "spawned", id, pid: a, guardPid: b }
    case 3:
      return { type: "failed", id, errno: a, step: guardSteps[b - 1] ?? "exec" }
    case 4:
      return { type: "exited", id, code: a }
    case 5:
      return { type: "signaled", id, signal: a }
    case 6:
      return { type: "survivor", id, pid: a }
    case 7:
      return { type: "closed", id, survivors: a }
    case 8:
      return { type: "started", id, startTime: (b >>> 0) * 2 ** 32 + (a >>> 0) }
    case 9:
      return { type: "lost", id }
    case 10:
      return a === 1
        ? { type: "limit", id, limit: "memoryBytes", amount: (b >>> 0) * 1024 }
        : { type: "limit", id, limit: "processes", amount: b >>> 0 }
    case 11:
      return { type: "probed", failed: a === 0 ? null : { step: guardSteps[a - 1] ?? "exec", errno: b } }
    default:
      return undefined
  }
}

/** Cuts the server's and the guards' bytes into events; a read may end in the middle of one. */
export class GuardEventDecoder {
  private rest: Buffer | undefined

  /** The events that are whole now. A type that this version does not know is passed over. */
  push(chunk: Buffer): ReadonlyArray<GuardEvent> {
    const bytes = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk])
    const events: Array<GuardEvent> = []
    let at = 0
    for (; at + eventBytes <= bytes.length; at += eventBytes) {
      const event = decodeEvent(bytes, at)
      if (event !== undefined) events.push(event)
    }
    this.rest = at === bytes.length ? undefined : bytes.subarray(at)
    return events
  }
}
