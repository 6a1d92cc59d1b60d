/**
 * `lsp`: a language server, over Content-Length. Ready after `initialize` and `initialized`; asked to end by `shutdown` and
 * `exit`. Prompts and answers as in `jsonrpc`; a cancelled request is taken back by `$/cancelRequest` and answered by the
 * server. Diagnostics, logs and progress are `native` entries.
 *
 * Answers by itself what has an answer that says nothing and does nothing: configuration (nulls), registrations, progress
 * tokens, refreshes (null), edits (not applied), documents to show (not shown), workspace folders (the root).
 */
import { basename, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import type { LspOptions } from "../domain/ProtocolSpec.ts"
import { cancelRequest } from "./JsonRpc.ts"
import { makeJsonRpcChild } from "./JsonRpcChild.ts"
import { fieldsOf, wholeResult, type RpcReply } from "./JsonRpcDialect.ts"
import { readPrompt } from "./JsonRpcPrompt.ts"

/** What a client without an editor can take. */
export const lspCapabilities = {
  general: { positionEncodings: ["utf-16"] },
  workspace: { configuration: true, workspaceFolders: true, applyEdit: false },
  window: { workDoneProgress: false },
  textDocument: {
    synchronization: {},
    publishDiagnostics: {},
    hover: { contentFormat: ["plaintext", "markdown"] },
    completion: {},
    documentSymbol: { hierarchicalDocumentSymbolSupport: true },
  },
}

const folderOf = (root: string) => ({ uri: pathToFileURL(root).href, name: basename(root) || root })

/** Asks the client to ask again for something that nobody holds here. */
const isRefresh = (method: string): boolean => method.startsWith("workspace/") && method.endsWith("/refresh")

const neutral = (method: string, params: unknown, root: string): RpcReply | undefined => {
  switch (method) {
    case "workspace/configuration": {
      const { items } = fieldsOf(params)
      return { result: Array.isArray(items) ? items.map(() => null) : [] }
    }
    case "client/registerCapability":
    case "client/unregisterCapability":
    case "window/workDoneProgress/create":
      return { result: null }
    case "workspace/applyEdit":
      return { result: { applied: false, failureReason: "no editor is connected" } }
    case "window/showDocument":
      return { result: { success: false } }
    case "workspace/workspaceFolders":
      return { result: [folderOf(root)] }
    default:
      return isRefresh(method) ? { result: null } : undefined
  }
}

export const makeLsp = ({ initializationOptions, capabilities = lspCapabilities, rootPath = "." }: LspOptions = {}) =>
  makeJsonRpcChild({
    name: "lsp",
    framing: "contentLength",
    isMarked: true,
    handshake: ({ cwd }) => {
      const root = resolve(cwd, rootPath)
      const folder = folderOf(root)
      const params = {
        processId: null,
        clientInfo: { name: "creche" },
        rootPath: root,
        rootUri: folder.uri,
        workspaceFolders: [folder],
        capabilities,
        ...(initializationOptions === undefined ? undefined : { initializationOptions }),
      }
      return { request: { method: "initialize", params }, after: { method: "initialized", params: {} } }
    },
    ask: readPrompt,
    outcome: wholeResult,
    neutral: (method, params, cwd) => neutral(method, params, resolve(cwd, rootPath)),
    cancel: { call: (id) => ({ method: "$/cancelRequest", params: { id } }), until: "answer" },
    withdrawal: cancelRequest,
    goodbye: { request: { method: "shutdown" }, after: { method: "exit" } },
  })
