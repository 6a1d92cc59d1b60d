import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { encodeCommand, encodeRequest, GuardEventDecoder, tokenBytes } from "../../src/process/GuardProtocol.ts"

const event = (id: number, type: number, a: number, b = 0): Buffer => {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(id, 0)
  bytes.writeUInt32LE(type, 4)
  bytes.writeInt32LE(a, 8)
  bytes.writeInt32LE(b, 12)
  return bytes
}

describe("requests to the spawn server", () => {
  it("hold length, id, token, counts and NUL-ended strings, for any text", () => {
    const text = fc.string({ unit: "binary" }).map((value) => value.replaceAll("\0", ""))
    fc.assert(
      fc.property(
        text,
        fc.array(text),
        fc.dictionary(
          fc.string({ minLength: 1 }).map((n) => n.replace(/[=\0]/g, "_")),
          text,
        ),
        (command, args, env) => {
          const token = Buffer.alloc(tokenBytes, 7)
          const bytes = encodeRequest({ id: 5, token, command, args, cwd: "/tmp", env })
          expect(bytes.readUInt32LE(0)).toBe(bytes.length - 4)
          expect(bytes.readUInt32LE(4)).toBe(5)
          expect(bytes.subarray(8, 8 + tokenBytes)).toEqual(token)
          expect(bytes.readUInt32LE(24)).toBe(1 + args.length)
          expect(bytes.readUInt32LE(28)).toBe(Object.keys(env).length)
          expect(bytes.subarray(32, 44).toString("hex")).toBe("010000000000000000000000")
          const strings = bytes.subarray(44).toString("utf8").split("\0")
          expect(strings.pop()).toBe("")
          const expected = [
            "/tmp",
            "",
            command,
            ...args,
            ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
          ]
          expect(strings).toEqual(expected.map((value) => Buffer.from(value).toString("utf8")))
        },
      ),
    )
  })

  it("hold the level, its cgroup and the limits, memory in KiB and never rounded to none", () => {
    const request = (over: object) =>
      encodeRequest({ id: 5, token: Buffer.alloc(tokenBytes), command: "c", args: [], cwd: "/", env: {}, ...over })
    const numbers = (bytes: Buffer) => [32, 36, 40].map((at) => bytes.readUInt32LE(at))
    const limits = { processes: 7, memoryBytes: 5_000_000 }
    expect(numbers(request({ level: "namespace", limits }))).toEqual([2, 7, 4882])
    const cgroup = request({ level: "cgroup", cgroup: "/sys/x", limits: { memoryBytes: 1 } })
    expect(numbers(cgroup)).toEqual([3, 0, 1])
    expect(cgroup.subarray(44).toString()).toBe("/\0/sys/x\0c\0")
    expect(numbers(request({ limits: { processes: 2 ** 40, memoryBytes: 2 ** 52 } }))).toEqual([
      1,
      2 ** 32 - 1,
      2 ** 32 - 1,
    ])
  })

  it("commands are eight bytes", () => {
    expect(encodeCommand({ type: "group", signal: 15 }).toString("hex")).toBe("010000000f000000")
    expect(encodeCommand({ type: "leader", signal: 9 }).toString("hex")).toBe("0200000009000000")
    expect(encodeCommand({ type: "kill" }).toString("hex")).toBe("0300000000000000")
  })
})

describe("events from the guard", () => {
  const stream = Buffer.concat([
    event(0, 1, 1, 1),
    event(4_294_967_295, 2, 100, 101),
    event(2, 3, 2, 3),
    event(3, 4, 255),
    event(4, 5, 9),
    event(5, 6, 77),
    event(5, 7, 1),
    event(6, 8, -1, 1),
    event(7, 9, 0),
    event(8, 10, 1, -1),
    event(8, 10, 2, 51),
    event(0, 11, 0),
    event(0, 11, 5, 1),
  ])
  const expected = [
    { type: "hello", protocol: 1, subreaper: true },
    { type: "spawned", id: 4_294_967_295, pid: 100, guardPid: 101 },
    { type: "failed", id: 2, errno: 2, step: "cwd" },
    { type: "exited", id: 3, code: 255 },
    { type: "signaled", id: 4, signal: 9 },
    { type: "survivor", id: 5, pid: 77 },
    { type: "closed", id: 5, survivors: 1 },
    { type: "started", id: 6, startTime: 2 ** 32 + (2 ** 32 - 1) },
    { type: "lost", id: 7 },
    { type: "limit", id: 8, limit: "memoryBytes", amount: (2 ** 32 - 1) * 1024 },
    { type: "limit", id: 8, limit: "processes", amount: 51 },
    { type: "probed", failed: null },
    { type: "probed", failed: { step: "namespace", errno: 1 } },
  ]

  it("are decoded alike however the reads cut them", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: stream.length }), { maxLength: 12 }), (cuts) => {
        const decoder = new GuardEventDecoder()
        const edges = [0, ...cuts.toSorted((a, b) => a - b), stream.length]
        const events = edges.slice(1).flatMap((end, i) => decoder.push(stream.subarray(edges[i], end)))
        expect(events).toEqual(expected)
      }),
    )
  })

  it("of a type that this version does not know are passed over", () => {
    expect(new GuardEventDecoder().push(Buffer.concat([event(1, 99, 0), event(2, 4, 3)]))).toEqual([
      { type: "exited", id: 2, code: 3 },
    ])
  })
})
