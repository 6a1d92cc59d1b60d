/**
 * Codex without an account: whoever runs the session is asked to log in, which people do in a browser, by the agent's own
 * ways; or beforehand with the CLI, or by a key in its environment. Keys do not go through here. Pure; called by Codex.
 */
import { ask, native, type CodexState, type Events } from "./CodexState.ts"
import { objectOf, stringOf } from "./JsonObject.ts"

/** As the agent calls them. The first one needs no browser on this machine. */
const methods = ["chatgptDeviceCode", "chatgpt"]

const again = (state: CodexState, instructions: string, login: string | null, events: Events): CodexState => {
  events.push({ type: "authenticate", methods, instructions })
  return { ...state, phase: { tag: "authenticating", login } }
}

/** Undefined: it needs no login, or has one. */
export const wanted = (state: CodexState, account: unknown, events: Events): CodexState | undefined => {
  const { requiresOpenaiAuth, account: own } = objectOf(account)
  if (requiresOpenaiAuth !== true || (own !== null && own !== undefined)) return undefined
  return again(state, "log in by one of the methods, or set CODEX_API_KEY for it", null, events)
}

export const begin = (state: CodexState, method: string | null, events: Events): CodexState =>
  ask(state, "account/login/start", { type: method ?? methods[0] }, events)

export const begun = (state: CodexState, result: unknown, events: Events): CodexState => {
  if (state.phase.tag !== "authenticating") return state
  const { loginId, authUrl, verificationUrl, userCode } = objectOf(result)
  const device = stringOf(verificationUrl)
  const page = stringOf(authUrl)
  const instructions =
    device !== undefined
      ? `open ${device} and enter ${String(userCode)}`
      : page !== undefined
        ? `open ${page} in a browser on the machine that the session runs on`
        : "go on by the agent's own way"
  return again(state, instructions, stringOf(loginId) ?? null, events)
}

export const refused = (state: CodexState, message: string, events: Events): CodexState =>
  state.phase.tag === "authenticating" ? again(state, `the login failed: ${message}`, null, events) : state

/** What the agent says of accounts while it waits for one. `in`: there is one now. */
export const heard = (
  state: CodexState,
  method: string,
  value: unknown,
  frame: string,
  events: Events,
): CodexState | "in" | undefined => {
  if (state.phase.tag !== "authenticating") return undefined
  const params = objectOf(value)
  if (method === "account/updated" && stringOf(params["authMode"]) !== undefined) return "in"
  if (method !== "account/login/completed") return undefined
  if (params["success"] === true) return "in"
  native(JSON.parse(frame), events)
  const isOurs = params["loginId"] === state.phase.login
  return isOurs ? again(state, `the login failed: ${String(params["error"])}`, null, events) : state
}
