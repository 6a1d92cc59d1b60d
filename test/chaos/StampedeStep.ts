/**
 * What a stampede does: step by step, from a seed alone. Which steps there are, and in which order they are begun, does not
 * depend on how any of them went; so a run can be played again.
 */
import { seeded } from "../acceptance/Processes.ts"

export type StampedeStep =
  | { readonly do: "ask" | "tell"; readonly session: number; readonly prompt: "echo" | "slow" | "flood" }
  | { readonly do: "killLeader" | "killGuard" | "freeze" | "cancel"; readonly session: number }
  | { readonly do: "stop"; readonly session: number; readonly mode: "graceful" | "kill" }
  | { readonly do: "restart" | "suspend" | "resume" | "replace"; readonly session: number }
  /** A connection that asks for something and is cut off after so many bytes. */
  | { readonly do: "disconnect"; readonly session: number; readonly bytes: number }
  | { readonly do: "deafSubscriber"; readonly session: number }
  | { readonly do: "killServer" }

const weights: ReadonlyArray<readonly [StampedeStep["do"], number]> = [
  ["ask", 400],
  ["tell", 150],
  ["cancel", 40],
  ["killLeader", 100],
  ["killGuard", 15],
  ["freeze", 20],
  ["stop", 40],
  ["restart", 40],
  ["suspend", 30],
  ["resume", 40],
  ["replace", 20],
  ["disconnect", 60],
  ["deafSubscriber", 10],
  ["killServer", 1],
]
const total = weights.reduce((sum, [, weight]) => sum + weight, 0)

export const stepOf = (seed: number, at: number, sessions: number): StampedeStep => {
  const random = seeded(seed ^ Math.imul(at + 1, 0x9e3779b1))
  // The first draws of neighbouring seeds are alike.
  random()
  let dice = random() * total
  const session = Math.floor(random() * sessions)
  const what = weights.find(([, weight]) => (dice -= weight) < 0)![0]
  switch (what) {
    case "ask":
    case "tell": {
      const kind = random()
      return { do: what, session, prompt: kind < 0.8 ? "echo" : kind < 0.97 ? "slow" : "flood" }
    }
    case "stop":
      return { do: what, session, mode: random() < 0.5 ? "graceful" : "kill" }
    case "disconnect":
      return { do: what, session, bytes: Math.floor(random() * 120) }
    case "killServer":
      return { do: what }
    default:
      return { do: what, session }
  }
}
