/** `creche tree`: the supervision tree, drawn. */
import type { TreeNode } from "../../supervisor/Runtime.ts"
import { withRuntime } from "../Connection.ts"
import type { Run } from "../Run.ts"
import { type Branch, drawTree, faint, paintStatus, plural } from "../Text.ts"

export const run: Run<"tree"> = async (call, io) => {
  const tree = await withRuntime(call, io, (client) => client.request("runtime/tree", {}))
  await io.stdout(call.shared.json ? `${JSON.stringify(tree)}\n` : drawTree(branch(tree, io.colours)))
  return 0
}

const branch = (node: TreeNode, colours: boolean): Branch => {
  switch (node.type) {
    case "supervisor": {
      const why = node.reason === null ? "" : ` ${faint(colours, node.reason)}`
      const failed = node.status === "failed" ? ` ${paintStatus(colours, "failed", "failed")}${why}` : ""
      const limit = node.maxRestarts === null ? "" : `, ${node.maxRestarts} in ${node.withinMs} ms`
      return {
        label: `${node.path} ${faint(colours, `(${node.strategy}${limit})`)}${failed}`,
        children: node.children.map((child) => branch(child, colours)),
      }
    }
    case "session": {
      const facts = [
        ...(node.pid === null ? [] : [`pid ${node.pid}`]),
        ...(node.restarts === 0 ? [] : [plural(node.restarts, "restart")]),
      ].join(", ")
      return {
        label: `${node.name} ${paintStatus(colours, node.status, node.status)}${facts === "" ? "" : ` ${faint(colours, facts)}`}`,
        children: [],
      }
    }
  }
}
