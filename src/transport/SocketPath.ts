/**
 * A path where a server listens, claimed in one step and for its owner alone: a stale socket is replaced, a live one and
 * anything that is no socket are left alone and reported. Serves nothing. Called by `UnixSocket` and the HTTP server.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"

export class SocketInUse extends Data.TaggedError("SocketInUse")<{ readonly path: string; readonly flag: string }> {
  override get message() {
    return `another runtime is listening on ${this.path}; end it with SIGTERM to its pid (in runtime.pid of its data directory; creche doctor names it), or give another path with ${this.flag}`
  }
}

export class SocketPathTooLong extends Data.TaggedError("SocketPathTooLong")<{
  readonly path: string
  readonly maxBytes: number
  readonly flag: string
}> {
  override get message() {
    return `the socket path has ${Buffer.byteLength(this.path)} bytes, and this system allows ${this.maxBytes}: ${this.path}; give a shorter one with ${this.flag}`
  }
}

export class NotASocket extends Data.TaggedError("NotASocket")<{
  readonly path: string
  readonly kind: string
  readonly flag: string
}> {
  override get message() {
    return `${this.path} is ${this.kind}, not a socket, and was left as it is; give another path with ${this.flag}`
  }
}

export class SocketFailed extends Data.TaggedError("SocketFailed")<{
  readonly path: string
  readonly errno: string
  readonly detail: string
}> {
  override get message() {
    return `cannot listen on ${this.path}: ${this.detail} (${this.errno})`
  }
}

export type SocketError = SocketInUse | SocketPathTooLong | NotASocket | SocketFailed

/** `sun_path` without its closing NUL. */
const maxPathBytes = process.platform === "linux" ? 107 : 103
/** Connections that wait to be taken; the kernel's own limit is often this. */
const backlog = 4096

export interface ClaimedPath {
  readonly path: string
  /** The socket as it was made: at the close, only this one is removed. */
  readonly file: fs.BigIntStats
}

/** `flag`: how another path is given, for the errors. Binds under a name of its own, then links that to the path: the link fails where the path is taken, in one step. */
export const claimPath = (
  server: net.Server,
  given: string,
  flag = "--socket or CRECHE_SOCKET",
): Effect.Effect<ClaimedPath, SocketError> =>
  Effect.gen(function* () {
    const target = path.resolve(given)
    const own = ownName(target)
    if (Math.max(Buffer.byteLength(target), Buffer.byteLength(own)) > maxPathBytes) {
      return yield* new SocketPathTooLong({ path: target, maxBytes: maxPathBytes, flag })
    }
    yield* attempt(target, () => fs.mkdirSync(path.dirname(target), { recursive: true, mode: 0o700 }))
    yield* ensureFree(target, flag)
    yield* listen(server, own, target)
    const linked = yield* Effect.exit(link(own, target, flag))
    yield* Effect.sync(() => fs.rmSync(own, { force: true }))
    if (Exit.isFailure(linked)) {
      yield* Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
      return yield* Effect.failCause(linked.cause)
    }
    return { path: target, file: yield* attempt(target, () => fs.lstatSync(target, { bigint: true })) }
  }).pipe(Effect.uninterruptible)

const attempt = <A>(target: string, act: () => A): Effect.Effect<A, SocketFailed> =>
  Effect.try({ try: act, catch: (error) => socketFailed(target, error as NodeJS.ErrnoException) })

const remedies: Readonly<Record<string, string>> = {
  EACCES: "no permission to write in its directory",
  ENOENT: "its directory is not there",
  ENOTDIR: "a part of the path is not a directory",
  EEXIST: "a part of the path is not a directory",
  EROFS: "its file system is read-only",
}

const socketFailed = (target: string, error: NodeJS.ErrnoException): SocketFailed =>
  new SocketFailed({
    path: target,
    errno: error.code ?? "unknown",
    detail: remedies[error.code ?? ""] ?? error.message,
  })

const listen = (server: net.Server, own: string, target: string): Effect.Effect<void, SocketFailed> =>
  Effect.callback((resume) => {
    const failed = (error: Error) => resume(Effect.fail(socketFailed(target, error)))
    server.once("error", failed)
    // bind happens inside `listen`, so the mask is in force for this file and for no other.
    const mask = process.umask(0o177)
    try {
      server.listen({ path: own, backlog }, () => {
        server.off("error", failed)
        // Later errors are of single accepts (no descriptor left); the listener itself goes on.
        server.on("error", () => {})
        resume(Effect.void)
      })
    } finally {
      process.umask(mask)
    }
  })

const link = (own: string, target: string, flag: string): Effect.Effect<void, SocketError> =>
  Effect.suspend(() => {
    try {
      fs.linkSync(own, target)
      return Effect.void
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // Another runtime was quicker, since `ensureFree` found the path free.
      if (code === "EEXIST") return Effect.andThen(ensureFree(target, flag), link(own, target, flag))
      return Effect.fail(socketFailed(target, error as NodeJS.ErrnoException))
    }
  })

const kinds = [
  ["a directory", (stat: fs.BigIntStats) => stat.isDirectory()],
  ["a symbolic link", (stat: fs.BigIntStats) => stat.isSymbolicLink()],
  ["a file", (stat: fs.BigIntStats) => stat.isFile()],
] as const

const ensureFree = (target: string, flag: string): Effect.Effect<void, SocketError> =>
  Effect.gen(function* () {
    const found = yield* attempt(target, () => fs.lstatSync(target, { bigint: true, throwIfNoEntry: false }))
    if (found === undefined) return
    if (!found.isSocket()) {
      const kind = kinds.find(([, is]) => is(found))?.[0] ?? "something else"
      return yield* new NotASocket({ path: target, kind, flag })
    }
    const errno = yield* probe(target)
    if (errno === undefined) return yield* new SocketInUse({ path: target, flag })
    if (errno === "ENOENT") return
    if (errno !== "ECONNREFUSED") return yield* socketFailed(target, { code: errno, name: "", message: "in use?" })
    yield* removeStale(target, found, flag)
  })

/** How a connection attempt fails; undefined when somebody listens. */
const probe = (target: string): Effect.Effect<string | undefined> =>
  Effect.callback((resume) => {
    const socket = net.connect(target)
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(undefined))
    })
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // EAGAIN: its backlog is full, so somebody listens.
      resume(Effect.succeed(error.code === "EAGAIN" ? undefined : (error.code ?? "unknown")))
    })
  })

/**
 * Between the probe and the removal another runtime may have replaced the stale socket by its own. So it is
 * removed only while it is the one that was probed, moved aside first, probed there again, and put back where
 * it turns out to be alive. The inode alone would not do: the next socket may get the same number.
 */
const removeStale = (target: string, probed: fs.BigIntStats, flag: string): Effect.Effect<void, SocketError> =>
  Effect.gen(function* () {
    const aside = ownName(target)
    const moved = yield* attempt(target, () => {
      const now = fs.lstatSync(target, { bigint: true, throwIfNoEntry: false })
      if (now === undefined || !isSame(now, probed)) return false
      fs.renameSync(target, aside)
      return true
    })
    if (!moved) return
    const isAlive = (yield* probe(aside)) === undefined
    yield* attempt(target, () => {
      if (isAlive) fs.linkSync(aside, target)
      fs.rmSync(aside)
    })
    if (isAlive) return yield* new SocketInUse({ path: target, flag })
  }).pipe(
    // Somebody else was quicker to move it.
    Effect.catchTag("SocketFailed", (error) => (error.errno === "ENOENT" ? Effect.void : Effect.fail(error))),
  )

const ownName = (target: string): string => path.join(path.dirname(target), `.${randomBytes(3).toString("hex")}`)

const isSame = (a: fs.BigIntStats, b: fs.BigIntStats): boolean =>
  a.dev === b.dev && a.ino === b.ino && a.mtimeNs === b.mtimeNs

/** Removes the path if it is still what was claimed. */
export const removePath = (claimed: ClaimedPath): void => {
  try {
    const now = fs.lstatSync(claimed.path, { bigint: true, throwIfNoEntry: false })
    if (now !== undefined && isSame(now, claimed.file)) fs.rmSync(claimed.path)
  } catch {
    // Its directory is gone or not ours any more: then so is the socket.
  }
}
