/**
 * Where sessions of the level `cgroup` live: one cgroup (v2) of the runtime's own, made when the first of them starts, and
 * below it one for each, which its guard makes and removes. Finds out whether this is allowed here, and removes what dead
 * runtimes left. Which controllers are there decides whether the kernel holds a session's limits or its guard does.
 */
import { randomBytes } from "node:crypto"
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { isAlive, pidNamespace, startTimeOf } from "./ProcessIdentity.ts"

export type CgroupProbe =
  | { readonly available: true; readonly root: string; readonly controllers: ReadonlyArray<Controller> }
  | { readonly available: false; readonly detail: string }

/** Those that a session's limits want. */
export const controllers = ["memory", "pids"] as const
export type Controller = (typeof controllers)[number]

export interface Procfs {
  readonly mountinfo: string
  readonly cgroup: string
}

/** Octal escapes of mountinfo. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

/** The directory of this process's own cgroup (v2), also where version 1 is mounted beside it; otherwise why there is none. */
export const ownCgroup = ({ mountinfo, cgroup }: Procfs): { readonly path: string } | { readonly detail: string } => {
  const own = /^0::(\/.*)$/m.exec(cgroup)?.[1]
  if (own === undefined) return { detail: "this system has no cgroups of version 2" }
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ")
    if (!right.startsWith("cgroup2 ")) continue
    const [, , , rootField = "/", mountField = ""] = left.split(" ")
    const root = unescape(rootField)
    const mount = unescape(mountField)
    if (root === "/") return own.startsWith("/..") ? { detail: outside } : { path: resolve(mount, `.${own}`) }
    if (own === root || own.startsWith(`${root}/`)) return { path: resolve(mount, `.${own.slice(root.length)}`) }
  }
  return { detail: "no cgroups of version 2 are mounted where this process could see its own" }
}

const outside = "the cgroup of this process lies outside what is mounted here"

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8").trim()
  } catch {
    return ""
  }
}

const words = (text: string): ReadonlyArray<string> => text.split(/\s+/).filter((word) => word !== "")

const subgroups = (path: string): ReadonlyArray<string> => {
  try {
    return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
  } catch {
    return []
  }
}

const prefix = "creche-"

/**
 * A manager that delegates a cgroup to a service may have put the service into a subgroup of it, and then it is the one
 * above that is meant: it has no process, and no other subgroup.
 */
const delegated = (own: string): string => {
  const above = dirname(own)
  const others = subgroups(above).filter((name) => name !== basename(own) && !name.startsWith(prefix))
  const mayBe =
    read(join(above, "cgroup.type")) !== "" && read(join(above, "cgroup.procs")) === "" && others.length === 0
  return mayBe && mayWrite(above) ? above : own
}

const mayWrite = (path: string): boolean => {
  try {
    accessSync(path, constants.W_OK)
    accessSync(join(path, "cgroup.procs"), constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Those of `root` that a group below it has, or would have once asked for. */
const usable = (root: string): ReadonlyArray<Controller> => {
  const given = words(read(join(root, "cgroup.subtree_control")))
  // Nothing may be given on by a group that has processes itself, the topmost apart.
  const mayGive = read(join(root, "cgroup.procs")) === "" || read(join(root, "cgroup.type")) === ""
  const there = mayGive ? words(read(join(root, "cgroup.controllers"))) : []
  return controllers.filter((name) => given.includes(name) || there.includes(name))
}

const reason = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error)

/** Looks, and leaves nothing behind. `CRECHE_CGROUP` names another root than the one that is found. */
export const probeCgroup = (env: Readonly<Record<string, string | undefined>> = process.env): CgroupProbe => {
  if (process.platform !== "linux") return { available: false, detail: "only Linux has cgroups" }
  let root = env["CRECHE_CGROUP"] ?? ""
  if (root === "") {
    const own = ownCgroup({ mountinfo: read("/proc/self/mountinfo"), cgroup: read("/proc/self/cgroup") })
    if ("detail" in own) return { available: false, detail: own.detail }
    root = delegated(own.path)
  }
  const test = join(root, nameOf())
  try {
    accessSync(join(root, "cgroup.procs"), constants.W_OK)
    mkdirSync(test)
  } catch (error) {
    return {
      available: false,
      detail: `this user may not make a cgroup in ${root} (${reason(error)}): start the runtime where one is delegated to it (systemd: Delegate=yes), or name it with CRECHE_CGROUP`,
    }
  }
  const isOne = read(join(test, "cgroup.events")) !== ""
  rmdirSync(test)
  return isOne
    ? { available: true, root, controllers: usable(root) }
    : { available: false, detail: `${root} is not a cgroup of version 2` }
}

/** Says whose it is, so that another runtime can tell whether that one lives. */
const nameOf = (): string =>
  `${prefix}${namespaceNumber()}-${process.pid}-${startTimeOf(process.pid) ?? 0}-${randomBytes(3).toString("hex")}`

/** Its number alone, since this is a part of a file's name. */
const namespaceNumber = (): string => /\d+/.exec(pidNamespace())?.[0] ?? "0"

const give = (path: string, names: ReadonlyArray<Controller>): void => {
  for (const name of names) {
    try {
      writeFileSync(join(path, "cgroup.subtree_control"), `+${name}`)
    } catch {
      // Then the guards watch what the kernel would have held.
    }
  }
}

/** Removes a cgroup and all below it. False: something in it lives. */
const remove = (path: string): boolean => {
  for (const name of subgroups(path)) remove(join(path, name))
  try {
    rmdirSync(path)
    return true
  } catch (error) {
    return reason(error) === "ENOENT"
  }
}

/** How long the processes of a dead runtime's cgroup may take to go, in ms. */
const patienceMs = 2_000

/** Ends and removes the cgroups of runtimes that no longer live. */
export const sweepCgroups = async (root: string): Promise<void> => {
  const namespace = namespaceNumber()
  for (const name of subgroups(root)) {
    const [, of, pid, start] = /^creche-(\d+)-(\d+)-(\d+)-[0-9a-f]+$/.exec(name) ?? []
    // In another namespace that number may be anybody.
    if (of !== namespace || pid === undefined || isAlive(Number(pid), Number(start))) continue
    await end(join(root, name))
  }
}

const end = async (path: string): Promise<void> => {
  const deadline = performance.now() + patienceMs
  for (;;) {
    try {
      writeFileSync(join(path, "cgroup.kill"), "1")
    } catch {
      // Before Linux 5.14; the ledger's sweep has ended them then.
    }
    if (remove(path) || performance.now() > deadline) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export class CgroupTree {
  private readonly probe: Extract<CgroupProbe, { available: true }>
  private path: string | undefined

  constructor(probe: Extract<CgroupProbe, { available: true }>) {
    this.probe = probe
  }

  /** Makes the runtime's own, once. Throws what the file system says. */
  open(): void {
    if (this.path !== undefined) return
    const path = join(this.probe.root, nameOf())
    give(this.probe.root, this.probe.controllers)
    mkdirSync(path)
    give(path, this.probe.controllers)
    this.path = path
  }

  /** The path of a new session's cgroup, which is still to be made. */
  of(session: string, id: number): string {
    return join(this.path ?? "", `${session.replaceAll(/[^\w-]/g, "_").slice(0, 100)}.${id}`)
  }

  /** The guard that should have ended and removed it was killed. */
  remove(path: string): Promise<void> {
    return end(path)
  }

  async close(): Promise<void> {
    if (this.path !== undefined) await end(this.path)
  }
}
