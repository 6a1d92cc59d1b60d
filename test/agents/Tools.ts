/** Programs of others that creche is held to, and that no test of the project itself may need: installed apart by `npm run test:agents`. */
import type { Agent } from "./Agent.ts"

export type Tool = Pick<Agent, "name" | "packages" | "program"> & {
  /** Its suite. */
  readonly suite: string
  /** It asks in the network for its model, so it runs where there is none but loopback, or not at all. */
  readonly needsNamespace?: true
}

/** The official client of the Model Context Protocol. */
export const mcpSdk: Tool = {
  name: "mcp-sdk",
  packages: ["@modelcontextprotocol/sdk@1.32.2"],
  program: "node_modules/@modelcontextprotocol/sdk/package.json",
  suite: "McpSdk",
}

/** A generator of types from OpenAPI, a compiler for what it makes (which no longer is the project's own), and a validator. */
export const openApiTools: Tool = {
  name: "openapi-typescript",
  packages: ["openapi-typescript@7.13.0", "typescript@5.9.3", "@apidevtools/swagger-parser@13.1.0"],
  program: "node_modules/openapi-typescript/bin/cli.js",
  suite: "OpenApi",
}

/** Claude Code as a library, with the CLI that it starts; its children are guarded by its own hook. */
export const claudeAgentSdk: Tool = {
  name: "claude-agent-sdk",
  packages: ["@anthropic-ai/claude-agent-sdk@0.3.329"],
  program: "node_modules/@anthropic-ai/claude-agent-sdk/sdk.mjs",
  suite: "ClaudeAgentSdk",
  needsNamespace: true,
}

/** Has no hook for another spawn, and needs none. */
export const execa: Tool = {
  name: "execa",
  packages: ["execa@10.2.1"],
  program: "node_modules/execa/index.js",
  suite: "Execa",
}

export const tools: ReadonlyArray<Tool> = [mcpSdk, openApiTools, claudeAgentSdk, execa]
