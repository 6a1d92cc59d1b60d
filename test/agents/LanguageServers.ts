/** The real JSON-RPC servers that `npm run test:agents` installs and asks: language servers, and one of the Model Context Protocol. */
import type { SessionSpecInput } from "../../src/domain/SessionSpec.ts"
import type { Agent } from "./Agent.ts"

export interface RpcServer extends Pick<Agent, "name" | "packages" | "program"> {
  readonly args: ReadonlyArray<string>
  readonly protocol: NonNullable<SessionSpecInput["protocol"]>
}

export const typescriptServer: RpcServer = {
  name: "typescript-language-server",
  packages: ["typescript-language-server@6.0.2", "typescript@5.9.3"],
  program: "node_modules/typescript-language-server/lib/cli.mjs",
  args: ["--stdio"],
  // It would ask a registry for type definitions.
  protocol: { type: "lsp", initializationOptions: { disableAutomaticTypingAcquisition: true } },
}

export const jsonServer: RpcServer = {
  name: "vscode-json-languageserver",
  packages: ["vscode-json-languageserver@1.3.4"],
  program: "node_modules/vscode-json-languageserver/bin/vscode-json-languageserver",
  args: ["--stdio"],
  // Schemas of any other kind it asks its client for.
  protocol: { type: "lsp", initializationOptions: { handledSchemaProtocols: ["file"], provideFormatter: true } },
}

export const everythingServer: RpcServer = {
  name: "server-everything",
  packages: ["@modelcontextprotocol/server-everything@2026.8.31"],
  program: "node_modules/@modelcontextprotocol/server-everything/dist/index.js",
  args: ["stdio"],
  protocol: { type: "mcp", capabilities: { sampling: {}, roots: {} } },
}

export const languageServers: ReadonlyArray<RpcServer> = [typescriptServer, jsonServer, everythingServer]
