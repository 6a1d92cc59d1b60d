import { describe, expect, it } from "vitest"
import { commandOf } from "../../src/protocols/CodexWire.ts"
import { begun, codex, completed, done, inTurn, notice, of, running, thread, written } from "./CodexSteps.ts"

const request = (id: number | string, method: string, params: object = {}) => ({
  id,
  method,
  params: { threadId: thread, turnId: "turn-1", itemId: "i1", ...params },
})
const exec = (id: number | string, params: object = {}) => request(id, "item/commandExecution/requestApproval", params)

describe("the tools of Codex", () => {
  const command = { type: "commandExecution", id: "c1", command: "/bin/bash -lc 'ls -l'", cwd: "/place" }

  it("tell their input once, their output in pieces, and how they ended", () => {
    const agent = running()
    const events = agent.says(
      begun({ ...command, status: "inProgress", aggregatedOutput: null }),
      inTurn("item/commandExecution/outputDelta", { itemId: "c1", delta: "total" }),
      done({ ...command, status: "completed", aggregatedOutput: "total 0", exitCode: 0, durationMs: 5 }),
    )
    const tool = { type: "tool", toolId: "c1", name: "shell" }
    expect(events).toEqual([
      { ...tool, input: { command: "ls -l", cwd: "/place" }, status: "in_progress" },
      { ...tool, output: "total", status: "in_progress" },
      { ...tool, output: { text: "total 0", exitCode: 0, durationMs: 5 }, status: "completed" },
    ])
  })

  it("tell their input at the end where they were not seen to begin", () => {
    expect(running().says(done({ ...command, status: "declined" }))).toEqual([
      { type: "tool", toolId: "c1", name: "shell", input: { command: "ls -l", cwd: "/place" }, status: "declined" },
    ])
  })

  it("are known by their names", () => {
    const agent = running()
    for (const [item, expected] of [
      [
        { type: "fileChange", changes: [1], status: "completed" },
        { name: "apply_patch", input: { changes: [1] } },
      ],
      [
        {
          type: "mcpToolCall",
          server: "s",
          tool: "t",
          arguments: { a: 1 },
          result: { content: [2] },
          status: "completed",
        },
        { name: "mcp__s__t", input: { a: 1 }, output: { content: [2] } },
      ],
      [
        { type: "mcpToolCall", server: "s", tool: "t", arguments: {}, error: { message: "no" }, status: "failed" },
        { name: "mcp__s__t", output: { error: { message: "no" } }, status: "failed" },
      ],
      [
        {
          type: "dynamicToolCall",
          tool: "d",
          arguments: { a: 1 },
          contentItems: [3],
          success: true,
          status: "completed",
        },
        { name: "d", input: { a: 1 }, output: { content: [3], success: true } },
      ],
      [
        { type: "webSearch", query: "q" },
        { name: "web_search", input: { query: "q" }, status: "completed" },
      ],
      [
        { type: "imageView", path: "/p" },
        { name: "view_image", input: { path: "/p" } },
      ],
      [{ type: "collabAgentToolCall", tool: "spawnAgent", prompt: "p", status: "completed" }, { name: "spawnAgent" }],
      [{ type: "imageGeneration", result: "r" }, { name: "image_generation" }],
    ] as const) {
      expect(agent.says(done({ id: "x", ...item }))).toMatchObject([{ type: "tool", toolId: "x", ...expected }])
    }
  })
})

describe("commandOf", () => {
  it("finds what the shell is given, as a shell reads it", () => {
    for (const [wrapped, command] of [
      ["/bin/bash -lc 'git status'", "git status"],
      ["bash -c ls", "ls"],
      ['/usr/bin/zsh -lc "echo \'a\' \\"b\\" \\$x"', "echo 'a' \"b\" $x"],
      ["/bin/sh -c 'it'\\''s'", "it's"],
      [`/bin/bash -lc 'it'"'"'s'`, "it's"],
      ["/bin/bash -lc 'a\nb'", "a\nb"],
    ] as const) {
      expect(commandOf(wrapped)).toBe(command)
    }
  })

  it("leaves alone what it does not read for sure", () => {
    for (const command of [
      "ls -l",
      "/bin/bash -lc 'a' b",
      "/bin/bash -lc 'a",
      '/bin/bash -lc "a',
      "/bin/bash -lc a;b",
      "/bin/bash -lc $(x)",
      "/bin/bash -x -lc 'a'",
      "/bin/bash -lc ",
      "python -c 'a'",
      "",
    ]) {
      expect(commandOf(command)).toBe(command)
    }
  })
})

describe("what Codex asks leave for", () => {
  it("is asked of the client with its options, ids from 0", () => {
    const agent = running()
    const [asked] = agent.says(
      exec(0, {
        ...{ kind: "command", reason: "r", command: "/bin/bash -lc 'touch x'", cwd: "/place", startedAtMs: 1 },
        ...{ environmentId: "local", availableDecisions: ["accept"], proposedExecpolicyAmendment: ["touch", "x"] },
      }),
    )
    expect(asked).toEqual({
      type: "permission",
      request: "fresh-1:0",
      tool: "shell",
      input: { kind: "command", reason: "r", command: "touch x", cwd: "/place" },
      options: [
        { id: "accept", name: "Allow", kind: "allow_once" },
        { id: "acceptForSession", name: "Allow for the rest of the session", kind: "allow_always" },
        {
          id: "acceptWithExecpolicyAmendment",
          name: "Allow, and from now on whatever begins with: touch x",
          kind: "allow_always",
        },
        { id: "decline", name: "Deny", kind: "reject_once" },
        { id: "cancel", name: "Deny, and end the turn", kind: "reject_once" },
      ],
    })
  })

  it("is answered with the option's decision, once", () => {
    const amendment = { acceptWithExecpolicyAmendment: { execpolicy_amendment: ["x"] } }
    for (const [option, decision] of [
      ["accept", "accept"],
      ["acceptForSession", "acceptForSession"],
      ["decline", "decline"],
      ["cancel", "cancel"],
      ["acceptWithExecpolicyAmendment", amendment],
    ] as const) {
      const agent = running()
      agent.says(exec(0, { proposedExecpolicyAmendment: ["x"] }))
      expect(agent.answer("fresh-1:0", "no such option")).toEqual([])
      expect(agent.answer("fresh-1:0", "toString")).toEqual([])
      expect(written(agent.answer("fresh-1:0", option))).toEqual([{ id: 0, result: { decision } }])
      expect(agent.answer("fresh-1:0", option)).toEqual([])
      expect(agent.says(notice("serverRequest/resolved", { requestId: 0 }))).toEqual([])
    }
  })

  it("is another request in every process", () => {
    const first = running({ freshId: "a" })
    first.says(exec(0))
    const second = running({ freshId: "b" })
    const [asked] = of(second.says(exec(0)), "permission")
    expect(asked?.request).toBe("b:0")
    expect(second.answer("a:0", "accept")).toEqual([])
    expect(written(second.answer("b:0", "accept"))).toHaveLength(1)
  })

  it("is withdrawn where the agent needs no answer any more", () => {
    const agent = running()
    agent.says(exec("seven"))
    expect(agent.says(notice("serverRequest/resolved", { requestId: "seven" }))).toEqual([
      { type: "permissionWithdrawn", request: "fresh-1:seven" },
    ])
    expect(agent.answer("fresh-1:seven", "accept")).toEqual([])
    agent.says(exec(8))
    agent.says(completed())
    expect(agent.answer("fresh-1:8", "accept")).toEqual([])
  })

  it("names the change of files that its item told", () => {
    const agent = running()
    const changes = [{ path: "/place/a", kind: { type: "add" }, diff: "x" }]
    agent.says(begun({ type: "fileChange", id: "i1", changes, status: "inProgress" }))
    const asked = agent.says(request(0, "item/fileChange/requestApproval", { reason: null, grantRoot: "/" }))
    expect(asked).toMatchObject([{ type: "permission", tool: "apply_patch", input: { changes, grantRoot: "/" } }])
  })

  it("offers hosts for good", () => {
    const agent = running()
    const proposedNetworkPolicyAmendments = [
      { action: "allow", host: "a.example" },
      { action: "deny", host: "b.example" },
    ]
    const [asked] = of(agent.says(exec(0, { proposedNetworkPolicyAmendments })), "permission")
    expect(asked?.options.map(({ kind }) => kind)).toEqual(
      "allow_once allow_always allow_always reject_always reject_once reject_once".split(" "),
    )
    expect(written(agent.answer("fresh-1:0", "applyNetworkPolicyAmendment:1"))).toEqual([
      {
        id: 0,
        result: {
          decision: { applyNetworkPolicyAmendment: { network_policy_amendment: proposedNetworkPolicyAmendments[1] } },
        },
      },
    ])
  })

  it("grants permissions for the turn or the session, or none", () => {
    const permissions = { network: { enabled: true }, fileSystem: null }
    const granted = { network: { enabled: true } }
    for (const [option, result] of [
      ["accept", { permissions: granted, scope: "turn" }],
      ["acceptForSession", { permissions: granted, scope: "session" }],
      ["decline", { permissions: {}, scope: "turn" }],
    ] as const) {
      const agent = running()
      agent.says(request(0, "item/permissions/requestApproval", { permissions, cwd: "/place" }))
      expect(written(agent.answer("fresh-1:0", option))).toEqual([{ id: 0, result }])
    }
  })

  it("passes a client's content on to an MCP server that asks for it", () => {
    const ask = { serverName: "s", mode: "form", message: "m", requestedSchema: {} }
    for (const [option, result, expected] of [
      ["accept", { name: "x" }, { action: "accept", content: { name: "x" }, _meta: null }],
      ["accept", undefined, { action: "accept", content: {}, _meta: null }],
      ["decline", { name: "x" }, { action: "decline", content: null, _meta: null }],
    ] as const) {
      const agent = running()
      const [asked] = of(agent.says(request(0, "mcpServer/elicitation/request", ask)), "permission")
      expect(asked).toMatchObject({ tool: "mcp__s", input: { message: "m" } })
      expect(written(agent.answer("fresh-1:0", option, result))).toEqual([{ id: 0, result: expected }])
    }
  })

  it("answers questions with what a client says, or what the agent recommends", () => {
    const questions = [
      { id: "q1", question: "which?", options: [{ label: "the first" }, { label: "the other" }] },
      { id: "q2", question: "free text?", options: null },
    ]
    for (const [option, result, answers] of [
      ["accept", undefined, { q1: { answers: ["the first"] } }],
      ["accept", { q1: "the other", q2: ["a", "b"] }, { q1: { answers: ["the other"] }, q2: { answers: ["a", "b"] } }],
      ["accept", { q2: { answers: ["own form"] } }, { q2: { answers: ["own form"] } }],
      ["decline", undefined, {}],
    ] as const) {
      const agent = running()
      agent.says(request(0, "item/tool/requestUserInput", { questions }))
      expect(written(agent.answer("fresh-1:0", option, result))).toEqual([{ id: 0, result: { answers } }])
    }
  })

  it("is refused and passed on where this client does not know it, in every phase", () => {
    const unknown = { id: 0, method: "item/tool/call", params: { tool: "x" } }
    const early = codex()
    early.start()
    for (const agent of [running(), early]) {
      expect(agent.says(unknown)).toEqual([
        { type: "native", message: unknown },
        {
          type: "write",
          data: '{"id":0,"error":{"code":-32601,"message":"this client does not answer item/tool/call"}}\n',
        },
      ])
    }
  })
})
