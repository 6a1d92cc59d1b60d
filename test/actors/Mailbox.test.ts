import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as Mailbox from "../../src/actors/Mailbox.ts"
import type { Overflow } from "../../src/domain/SessionSpec.ts"
import { checked } from "../support/Property.ts"

const overflows: ReadonlyArray<Overflow> = ["fail", "suspend", "sliding", "dropping"]
const filled = (overflow: Overflow, capacity: number, items: ReadonlyArray<number>) =>
  items.reduce((mailbox, item) => {
    const offered = Mailbox.offer(mailbox, item)
    return offered._tag === "Refused" ? mailbox : offered.mailbox
  }, Mailbox.empty<number>({ capacity, overflow }))

describe("a full mailbox", () => {
  it("under `fail` refuses what comes and keeps what it has", () => {
    const mailbox = filled("fail", 2, [1, 2])
    expect(Mailbox.offer(mailbox, 3)._tag).toBe("Refused")
    expect(Mailbox.toArray(mailbox)).toEqual([1, 2])
  })

  it("under `suspend` lets what comes wait, and takes it in as soon as there is room", () => {
    const mailbox = filled("suspend", 2, [1, 2, 3])
    expect(Mailbox.toArray(mailbox)).toEqual([1, 2])
    expect(Mailbox.everything(mailbox)).toEqual([1, 2, 3])
    const taken = Mailbox.take(mailbox)!
    expect([taken.item, taken.promoted]).toEqual([1, 3])
    expect(Mailbox.toArray(taken.mailbox)).toEqual([2, 3])
  })

  it("under `suspend` lets only so many wait, and refuses the rest", () => {
    const everybody = Array.from({ length: Mailbox.mostWaiting + 3 }, (_, i) => i)
    const mailbox = filled("suspend", 1, everybody)
    expect(Mailbox.everything(mailbox)).toEqual(everybody.slice(0, -2))
    expect(Mailbox.offer(mailbox, 0)._tag).toBe("Refused")
    expect(Mailbox.offer(Mailbox.take(mailbox)!.mailbox, 0)._tag).toBe("Waits")
  })

  it("under `sliding` takes what comes and gives up the oldest", () => {
    const offered = Mailbox.offer(filled("sliding", 2, [1, 2]), 3)
    expect(offered).toMatchObject({ _tag: "Displaced", victim: 1, accepted: true })
    expect(offered._tag === "Displaced" && Mailbox.toArray(offered.mailbox)).toEqual([2, 3])
  })

  it("under `dropping` gives up what comes", () => {
    const offered = Mailbox.offer(filled("dropping", 2, [1, 2]), 3)
    expect(offered).toMatchObject({ _tag: "Displaced", victim: 3, accepted: false })
    expect(offered._tag === "Displaced" && Mailbox.toArray(offered.mailbox)).toEqual([1, 2])
  })
})

describe("a mailbox", () => {
  it("takes back what was taken, over its capacity, and takes in nobody for it", () => {
    const taken = Mailbox.take(filled("suspend", 2, [1, 2, 3, 4]))!
    const mailbox = Mailbox.putBack(taken.mailbox, taken.item)
    expect(Mailbox.toArray(mailbox)).toEqual([1, 2, 3])
    const again = Mailbox.take(mailbox)!
    expect([again.item, again.promoted]).toEqual([1, undefined])
    expect(Mailbox.toArray(again.mailbox)).toEqual([2, 3])
  })

  /** What a mailbox should do, said with plain arrays. */
  type Command =
    | { readonly type: "offer" }
    | { readonly type: "take" }
    | { readonly type: "putBack" }
    | { readonly type: "remove"; readonly modulo: number }
    | { readonly type: "replaceNewest" }
    | { readonly type: "drain" }
    | { readonly type: "resize"; readonly to: number }
  const command = fc.oneof(
    { weight: 8, arbitrary: fc.constant<Command>({ type: "offer" }) },
    { weight: 5, arbitrary: fc.constant<Command>({ type: "take" }) },
    { weight: 1, arbitrary: fc.constant<Command>({ type: "putBack" }) },
    {
      weight: 2,
      arbitrary: fc.record({ type: fc.constant("remove" as const), modulo: fc.integer({ min: 2, max: 5 }) }),
    },
    { weight: 2, arbitrary: fc.constant<Command>({ type: "replaceNewest" }) },
    { weight: 1, arbitrary: fc.constant<Command>({ type: "drain" }) },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant("resize" as const), to: fc.integer({ min: 1, max: 5 }) }),
    },
  )

  it("agrees with two plain arrays, whatever is done to it", () => {
    checked(
      fc.constantFrom(...overflows),
      fc.integer({ min: 1, max: 5 }),
      fc.array(command, { maxLength: 60 }),
      (overflow, initially, commands) => {
        let capacity = initially
        let mailbox = Mailbox.empty<number>({ capacity, overflow })
        let items: Array<number> = []
        let waiting: Array<number> = []
        let next = 0
        for (const it of commands) {
          switch (it.type) {
            case "offer": {
              const item = ++next
              const offered = Mailbox.offer(mailbox, item)
              if (items.length < capacity) {
                expect(offered._tag).toBe("Accepted")
                items.push(item)
              } else if (overflow === "fail") expect(offered._tag).toBe("Refused")
              else if (overflow === "suspend") {
                expect(offered._tag).toBe("Waits")
                waiting.push(item)
              } else if (overflow === "sliding") {
                expect(offered).toMatchObject({ _tag: "Displaced", victim: items[0], accepted: true })
                items = [...items.slice(1), item]
              } else expect(offered).toMatchObject({ _tag: "Displaced", victim: item, accepted: false })
              if (offered._tag !== "Refused") mailbox = offered.mailbox
              break
            }
            case "take": {
              const taken = Mailbox.take(mailbox)
              const head = items.shift()
              expect(taken?.item).toBe(head)
              if (taken === undefined) break
              const promoted = items.length < capacity ? waiting.shift() : undefined
              expect(taken.promoted).toBe(promoted)
              if (promoted !== undefined) items.push(promoted)
              mailbox = taken.mailbox
              break
            }
            case "putBack":
              // Only what was taken is put back: one over the capacity at most.
              if (items.length > capacity) break
              items.unshift(++next)
              mailbox = Mailbox.putBack(mailbox, next)
              break
            case "remove": {
              const goes = (item: number) => item % it.modulo === 0
              const { mailbox: rest, removed, promoted } = Mailbox.remove(mailbox, goes)
              const gone = [...items, ...waiting].filter(goes)
              expect(removed).toEqual(gone)
              items = items.filter((item) => !goes(item))
              waiting = waiting.filter((item) => !goes(item))
              const moved = gone.length === 0 ? [] : waiting.splice(0, Math.max(0, capacity - items.length))
              expect(promoted).toEqual(moved)
              items.push(...moved)
              mailbox = rest
              break
            }
            case "resize": {
              capacity = it.to
              const resized = Mailbox.resize(mailbox, { capacity, overflow })
              const moved = waiting.splice(0, Math.max(0, capacity - items.length))
              expect(resized.promoted).toEqual(moved)
              items.push(...moved)
              mailbox = resized.mailbox
              break
            }
            case "replaceNewest": {
              const newest = items.at(-1)
              if (newest === undefined) break
              mailbox = Mailbox.replace(mailbox, newest, ++next)
              items[items.length - 1] = next
              break
            }
            case "drain": {
              const drained = Mailbox.drain(mailbox)
              expect([drained.items, drained.waiting]).toEqual([items, waiting])
              mailbox = drained.mailbox
              items = []
              waiting = []
            }
          }
          expect(Mailbox.toArray(mailbox)).toEqual(items)
          expect(Mailbox.everything(mailbox)).toEqual([...items, ...waiting])
          expect(Mailbox.size(mailbox)).toBe(items.length)
          expect(Mailbox.isEmpty(mailbox)).toBe(items.length === 0)
        }
      },
    )
  })

  it("costs the same for each of many items as for each of few", () => {
    const perItem = (count: number) => {
      const began = process.cpuUsage().user
      let mailbox = Mailbox.empty<number>({ capacity: count, overflow: "fail" })
      for (let i = 0; i < count; i++) {
        const offered = Mailbox.offer(mailbox, i)
        if (offered._tag === "Accepted") mailbox = offered.mailbox
      }
      let sum = 0
      for (let taken = Mailbox.take(mailbox); taken !== undefined; taken = Mailbox.take(mailbox)) {
        sum += taken.item
        mailbox = taken.mailbox
      }
      expect(sum).toBe((count * (count - 1)) / 2)
      return (process.cpuUsage().user - began) / count
    }
    perItem(20_000)
    const few = Math.min(perItem(20_000), perItem(20_000))
    const many = Math.min(perItem(400_000), perItem(400_000))
    // Quadratic would be 20 times as much.
    expect(many).toBeLessThan(8 * Math.max(few, 0.05))
  })
})
