/** Programs of others that creche is held to, and that no test of the project itself may need: installed apart by `npm run test:agents`. */
import type { Agent } from "./Agent.ts"

export type Tool = Pick<Agent, "name" | "packages" | "program"> & {
  /** Its suite. */
  readonly suite: string
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

export const tools: ReadonlyArray<Tool> = [mcpSdk, openApiTools]
