/**
 * Bearer tokens and the file that knows them: what each may do and within what, stored as hashes alone. A secret is shown
 * once, where it is created, and is in no log and no error. Says who a token is; what that one may do, `HttpAccess` says.
 */
import * as Data from "effect/Data"
import * as Schema from "effect/Schema"
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import { isDeepStrictEqual } from "node:util"
import { strictDecoder } from "../domain/StrictDecoder.ts"

export const tokenScopes = ["read", "prompt", "approve", "admin"] as const
export type TokenScope = (typeof tokenScopes)[number]

const text = Schema.String.check(Schema.isMinLength(1, { message: "must not be empty" }))
const optional = Schema.optionalKey

/** All of it must fit a session: the supervisor's path or one below it, and every tag. */
export const Confinement = Schema.Struct({
  supervisor: optional(text),
  tags: optional(Schema.Record(Schema.String, Schema.String)),
})
export type Confinement = typeof Confinement.Type

const TokenRecord = Schema.Struct({
  /** Public: names the token in the file, in lists and in logs. */
  id: Schema.String.check(Schema.isPattern(/^[0-9a-f]{12}$/u)),
  name: text,
  /** SHA-256 of the secret, hex. The secret has 256 random bits, so a slow hash would add nothing. */
  hash: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/u)),
  scopes: Schema.Array(Schema.Literals(tokenScopes)),
  confinement: optional(Confinement),
  /** RFC 3339. */
  createdAt: text,
  expiresAt: optional(text),
  /** Requests that it may make a second, in the long run; default 200. */
  perSecond: optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(1))),
})
export type TokenRecord = typeof TokenRecord.Type

const TokenFileContent = Schema.Struct({ version: Schema.Literal(1), tokens: Schema.Array(TokenRecord) })

export class TokenFileWrong extends Data.TaggedError("TokenFileWrong")<{ readonly detail: string }> {
  override get message() {
    return this.detail
  }
}

const prefix = "creche"
const pattern = /^creche_([0-9a-f]{12})_([0-9a-f]{64})$/

const hashOf = (secret: string): Buffer => createHash("sha256").update(secret, "utf8").digest()

export interface NewToken {
  readonly name: string
  readonly scopes: ReadonlyArray<TokenScope>
  readonly confinement?: Confinement
  readonly expiresInMs?: number
  readonly perSecond?: number
}

/** `token` is for its holder and is kept nowhere; `record` is for the file. */
export const makeToken = (
  { name, scopes, confinement, expiresInMs, perSecond }: NewToken,
  now: number,
): { readonly token: string; readonly record: TokenRecord } => {
  const id = randomBytes(6).toString("hex")
  const secret = randomBytes(32).toString("hex")
  return {
    token: `${prefix}_${id}_${secret}`,
    record: {
      id,
      name,
      hash: hashOf(secret).toString("hex"),
      scopes,
      ...(confinement === undefined ? {} : { confinement }),
      createdAt: new Date(now).toISOString(),
      ...(expiresInMs === undefined ? {} : { expiresAt: new Date(now + expiresInMs).toISOString() }),
      ...(perSecond === undefined ? {} : { perSecond }),
    },
  }
}

const { decode } = strictDecoder(TokenFileContent)
type Decoded = ReturnType<typeof decode>
const inWords = ({ problems }: Extract<Decoded, { readonly _tag: "Wrong" }>): string =>
  problems.map((each) => `${each.path.join(".")} ${each.message}`).join("; ")

/**
 * Whether nobody but its owner can read or write it. One that is root's may be read by its group as well, for who is not root:
 * so are secrets of Kubernetes handed in, and there is no other way to read them.
 */
export const isPrivate = ({ mode, uid }: Pick<fs.Stats, "mode" | "uid">, own: number | undefined): boolean =>
  (mode & (uid === 0 && own !== 0 ? 0o037 : 0o077)) === 0

/** The tokens of a file, none where it is not there. Throws `TokenFileWrong`, without repeating what the file holds. */
export const readTokens = (file: string): ReadonlyArray<TokenRecord> => {
  const wrong = (detail: string) => new TokenFileWrong({ detail: `the token file ${file} ${detail}` })
  const reading = <A>(read: () => A): A => {
    try {
      return read()
    } catch (error) {
      throw wrong(`cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`)
    }
  }
  const stat = reading(() => fs.statSync(file, { throwIfNoEntry: false }))
  if (stat === undefined) return []
  // Before it is read: a pipe would hold up whoever reads it, and everybody with him.
  if (!stat.isFile()) throw wrong("is no file")
  if (!isPrivate(stat, process.getuid?.())) throw wrong("can be read or written by others; chmod 600 makes it private")
  const content = reading(() => fs.readFileSync(file, "utf8"))
  let value: unknown
  try {
    value = JSON.parse(content)
  } catch {
    throw wrong("is not JSON")
  }
  const decoded = decode(value)
  if (decoded._tag === "Wrong") {
    throw wrong(`is wrong: ${inWords(decoded)}`)
  }
  return decoded.value.tokens
}

/**
 * What `change` makes of the tokens, in one step: who reads meanwhile sees those of before or those of after. The new file is
 * the lock too: while it is there, another writer is at work.
 */
export const changeTokens = (
  file: string,
  change: (tokens: ReadonlyArray<TokenRecord>) => ReadonlyArray<TokenRecord>,
): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 })
  const fresh = `${file}.new`
  let handle: number
  try {
    handle = fs.openSync(fresh, "wx", 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new TokenFileWrong({
      detail:
        code === "EEXIST"
          ? `the token file ${file} is being changed by another program; if none is, remove ${fresh}`
          : `the token file ${file} cannot be written (${code ?? "unknown"})`,
    })
  }
  try {
    try {
      const content = { version: 1, tokens: change(readTokens(file)) }
      // A file that cannot be read lets nobody in.
      const decoded = decode(content)
      if (decoded._tag === "Wrong") {
        throw new TokenFileWrong({ detail: `${file} stays as it is, for it would be wrong: ${inWords(decoded)}` })
      }
      fs.writeSync(handle, `${JSON.stringify(content, null, 2)}\n`)
      fs.fsyncSync(handle)
    } finally {
      fs.closeSync(handle)
    }
    fs.renameSync(fresh, file)
  } catch (error) {
    fs.rmSync(fresh, { force: true })
    throw error
  }
}

/** Why a token does not count; fit for a log, since it repeats nothing of it but its public id. */
export type TokenRefusal = { readonly _tag: "TokenRefused"; readonly why: string }

const refusal = (why: string): TokenRefusal => ({ _tag: "TokenRefused", why })
const nobody = hashOf("")

/** A file of tokens that is looked at again whenever it changed: what was revoked counts no more at once. */
export class TokenFile {
  readonly file: string
  #tokens: ReadonlyMap<string, TokenRecord> = new Map()
  #seen = "never"
  #trouble: string | undefined

  constructor(file: string) {
    this.file = file
  }

  /** Reads the file now; throws `TokenFileWrong`. */
  load(): number {
    this.#seen = this.#stamp()
    const before = this.#tokens
    this.#tokens = new Map(
      readTokens(this.file).map((record) => {
        const known = before.get(record.id)
        return [record.id, known !== undefined && isDeepStrictEqual(known, record) ? known : record]
      }),
    )
    this.#trouble = undefined
    return this.#tokens.size
  }

  authenticate(token: string, now: number): TokenRecord | TokenRefusal {
    this.look()
    const [, id = "", secret = ""] = pattern.exec(token) ?? []
    const record = this.#tokens.get(id)
    const hash = record === undefined ? nobody : Buffer.from(record.hash, "hex")
    const isRight = timingSafeEqual(hashOf(secret), hash)
    if (id === "") return refusal("the token is malformed")
    if (record === undefined) return refusal(this.#trouble ?? `no token has the id ${id}`)
    if (!isRight) return refusal(`the secret of token ${id} is wrong`)
    return isExpired(record, now) ? refusal(`token ${id} has expired`) : record
  }

  /** Whether one that was let in still would be, and as the same, by the last look at the file. */
  isCurrent(record: TokenRecord, now: number): boolean {
    return this.#tokens.get(record.id) === record && !isExpired(record, now)
  }

  /** Reads the file again if it changed. */
  look(): void {
    if (this.#stamp() === this.#seen) return
    try {
      this.load()
    } catch (error) {
      // Nobody is let in by what the file said before.
      this.#tokens = new Map()
      this.#trouble = (error as Error).message
    }
  }

  #stamp(): string {
    try {
      const stat = fs.statSync(this.file, { bigint: true, throwIfNoEntry: false })
      return stat === undefined ? "none" : `${stat.ino} ${stat.mtimeNs} ${stat.ctimeNs} ${stat.size}`
    } catch (error) {
      // A link in a circle, a directory that is closed by now: `load` says so.
      return (error as NodeJS.ErrnoException).code ?? "unknown"
    }
  }
}

const isExpired = ({ expiresAt }: TokenRecord, now: number): boolean =>
  // Not `<=` of its opposite: what is no time has expired.
  expiresAt !== undefined && !(now < Date.parse(expiresAt))
