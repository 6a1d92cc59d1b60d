/**
 * A bounded first-in-first-out inbox as a value, with the four answers to overflow. It decides, its owner acts:
 * whom to tell, and when to try again, is the owner's business. Offer and take cost O(1), also when long.
 */
import type { MailboxSpec } from "../domain/SessionSpec.ts"

/** Under `suspend` so many may wait for room; the next one is refused as under `fail`. */
export const mostWaiting = 10_000

interface Cell<A> {
  readonly head: A
  readonly tail: Cell<A> | null
}

/** A persistent queue: `back` is in reverse order and turned around when `front` runs out. */
interface Line<A> {
  readonly size: number
  readonly front: Cell<A> | null
  readonly back: Cell<A> | null
}

export interface Mailbox<A> {
  readonly spec: MailboxSpec
  readonly items: Line<A>
  /** Under `suspend`: offers that wait for room, not accepted yet. */
  readonly waiting: Line<A>
  /** It gives nothing out any more: what it holds is for whoever opens it next. */
  readonly isHeld: boolean
}

export type Offer<A> =
  | { readonly _tag: "Accepted"; readonly mailbox: Mailbox<A> }
  /** `fail`, or too many wait already: nothing was taken. */
  | { readonly _tag: "Refused" }
  /** `suspend`: taken once there is room. */
  | { readonly _tag: "Waits"; readonly mailbox: Mailbox<A> }
  /** `sliding`: taken, and the oldest had to go. `dropping`: the victim is the offered one itself. */
  | { readonly _tag: "Displaced"; readonly mailbox: Mailbox<A>; readonly victim: A; readonly accepted: boolean }

export interface Taken<A> {
  readonly item: A
  readonly mailbox: Mailbox<A>
  /** Under `suspend`: what moved in from those that waited, and is accepted now. */
  readonly promoted: A | undefined
}

const emptyLine: Line<never> = { size: 0, front: null, back: null }

const push = <A>(line: Line<A>, item: A): Line<A> =>
  line.front === null
    ? { size: 1, front: { head: item, tail: null }, back: null }
    : { size: line.size + 1, front: line.front, back: { head: item, tail: line.back } }

/** Invariant: `front` is null only when the line is empty. */
const shift = <A>(line: Line<A>): Line<A> => {
  if (line.size <= 1) return emptyLine
  let front = line.front!.tail
  if (front !== null) return { size: line.size - 1, front, back: line.back }
  for (let cell = line.back; cell !== null; cell = cell.tail) front = { head: cell.head, tail: front }
  return { size: line.size - 1, front, back: null }
}

const lineToArray = <A>(line: Line<A>): Array<A> => {
  const items: Array<A> = []
  for (let cell = line.front; cell !== null; cell = cell.tail) items.push(cell.head)
  const back: Array<A> = []
  for (let cell = line.back; cell !== null; cell = cell.tail) back.push(cell.head)
  for (let i = back.length - 1; i >= 0; i--) items.push(back[i] as A)
  return items
}

const lineFrom = <A>(items: ReadonlyArray<A>): Line<A> => {
  let front: Cell<A> | null = null
  for (let i = items.length - 1; i >= 0; i--) front = { head: items[i] as A, tail: front }
  return { size: items.length, front, back: null }
}

export const empty = <A>(spec: MailboxSpec): Mailbox<A> => ({
  spec,
  items: emptyLine,
  waiting: emptyLine,
  isHeld: false,
})

export const size = (mailbox: Mailbox<unknown>): number => mailbox.items.size

export const isEmpty = (mailbox: Mailbox<unknown>): boolean => mailbox.items.size === 0

export const offer = <A>(mailbox: Mailbox<A>, item: A): Offer<A> => {
  const { capacity, overflow } = mailbox.spec
  if (mailbox.items.size < capacity) {
    return { _tag: "Accepted", mailbox: { ...mailbox, items: push(mailbox.items, item) } }
  }
  switch (overflow) {
    case "fail":
      return { _tag: "Refused" }
    case "suspend":
      if (mailbox.waiting.size >= mostWaiting) return { _tag: "Refused" }
      return { _tag: "Waits", mailbox: { ...mailbox, waiting: push(mailbox.waiting, item) } }
    case "sliding":
      return {
        _tag: "Displaced",
        victim: mailbox.items.front!.head,
        mailbox: { ...mailbox, items: push(shift(mailbox.items), item) },
        accepted: true,
      }
    case "dropping":
      return { _tag: "Displaced", victim: item, mailbox, accepted: false }
  }
}

export const take = <A>(mailbox: Mailbox<A>): Taken<A> | undefined => {
  const { front } = mailbox.items
  if (front === null || mailbox.isHeld) return undefined
  const items = shift(mailbox.items)
  if (mailbox.waiting.front === null || items.size >= mailbox.spec.capacity) {
    return { item: front.head, mailbox: { ...mailbox, items }, promoted: undefined }
  }
  const promoted = mailbox.waiting.front.head
  return {
    item: front.head,
    mailbox: { ...mailbox, items: push(items, promoted), waiting: shift(mailbox.waiting) },
    promoted,
  }
}

/** Nothing is taken from it any more. What waited for room was not accepted, and has to go elsewhere. */
export const hold = <A>(mailbox: Mailbox<A>): { readonly mailbox: Mailbox<A>; readonly waiting: ReadonlyArray<A> } => ({
  mailbox: { ...mailbox, waiting: emptyLine, isHeld: true },
  waiting: lineToArray(mailbox.waiting),
})

/** Puts an item that was taken back to the head, over the capacity if need be: it had its place already. */
export const putBack = <A>(mailbox: Mailbox<A>, item: A): Mailbox<A> => ({
  ...mailbox,
  items: { size: mailbox.items.size + 1, front: { head: item, tail: mailbox.items.front }, back: mailbox.items.back },
})

/** Everything in order, accepted ones first, and an empty mailbox. */
export const drain = <A>(
  mailbox: Mailbox<A>,
): { readonly items: ReadonlyArray<A>; readonly waiting: ReadonlyArray<A>; readonly mailbox: Mailbox<A> } => ({
  items: lineToArray(mailbox.items),
  waiting: lineToArray(mailbox.waiting),
  mailbox: { ...empty<A>(mailbox.spec), isHeld: mailbox.isHeld },
})

/** Takes out every item that matches, wherever it stands. O(n). Room that this makes goes to those that wait. */
export const remove = <A>(
  mailbox: Mailbox<A>,
  matches: (item: A) => boolean,
): { readonly mailbox: Mailbox<A>; readonly removed: ReadonlyArray<A>; readonly promoted: ReadonlyArray<A> } => {
  const removed: Array<A> = []
  const keep = (item: A) => {
    if (!matches(item)) return true
    removed.push(item)
    return false
  }
  const items = lineToArray(mailbox.items).filter(keep)
  const waiting = lineToArray(mailbox.waiting).filter(keep)
  if (removed.length === 0) return { mailbox, removed, promoted: [] }
  return { ...filled(mailbox, items, waiting), removed }
}

/** With another capacity and answer to overflow. What it holds stays, and room that this makes goes to those that wait. O(n). */
export const resize = <A>(
  mailbox: Mailbox<A>,
  spec: MailboxSpec,
): { readonly mailbox: Mailbox<A>; readonly promoted: ReadonlyArray<A> } =>
  filled({ ...mailbox, spec }, lineToArray(mailbox.items), lineToArray(mailbox.waiting))

const filled = <A>(mailbox: Mailbox<A>, items: ReadonlyArray<A>, waiting: ReadonlyArray<A>) => {
  const room = Math.max(0, mailbox.spec.capacity - items.length)
  const promoted = waiting.slice(0, room)
  return {
    mailbox: { ...mailbox, items: lineFrom([...items, ...promoted]), waiting: lineFrom(waiting.slice(room)) },
    promoted,
  }
}

/** The accepted items in order. O(n). */
export const toArray = <A>(mailbox: Mailbox<A>): ReadonlyArray<A> => lineToArray(mailbox.items)

/** The accepted items in order, and those that wait after them. O(n). */
export const everything = <A>(mailbox: Mailbox<A>): ReadonlyArray<A> => [
  ...lineToArray(mailbox.items),
  ...lineToArray(mailbox.waiting),
]

/** Exchanges accepted items, each at its place. O(n). */
export const map = <A>(mailbox: Mailbox<A>, change: (item: A) => A): Mailbox<A> => ({
  ...mailbox,
  items: lineFrom(lineToArray(mailbox.items).map(change)),
})

/** Exchanges an item for another at the same place. O(1) for the newest, O(n) otherwise. */
export const replace = <A>(mailbox: Mailbox<A>, old: A, item: A): Mailbox<A> => {
  const { items } = mailbox
  if (items.back !== null && items.back.head === old) {
    return { ...mailbox, items: { ...items, back: { head: item, tail: items.back.tail } } }
  }
  if (items.size === 1 && items.front!.head === old) {
    return { ...mailbox, items: { ...items, front: { head: item, tail: null } } }
  }
  return map(mailbox, (other) => (other === old ? item : other))
}
