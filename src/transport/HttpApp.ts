/**
 * The routes, served: HttpApi's router with a handler for each endpoint, over requests of node:http that were let in. What HttpApi
 * cannot decode is left to the contract's decoders, which word it as every transport does. Made once for each server.
 *
 * The bridge to node:http is here, and not `@effect/platform-node`'s: that brings undici and, as a peer, redis; and streams have to
 * be made only while their reader reads.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Etag from "effect/http/Etag"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import * as Layer from "effect/Layer"
import * as Path from "effect/Path"
import type * as Scope from "effect/Scope"
import { endpointId, type GroupName, groupNames, httpApi, routesOf } from "./HttpContract.ts"
import { answerProblem } from "./HttpAnswer.ts"
import { exchange, type ExchangeOptions } from "./HttpExchange.ts"
import { problemOfMatch } from "./HttpRefusal.ts"
import { match, type Route } from "./HttpRoutes.ts"
import * as Problem from "./Problem.ts"

/** A request that was let in, with what is needed to answer it. */
export type Incoming = Omit<ExchangeOptions, "route" | "services"> & {
  /** As it was sent, without its query. */
  readonly path: string
}

class CurrentIncoming extends Context.Service<CurrentIncoming, Incoming>()(
  "creche/transport/HttpApp/CurrentIncoming",
) {}

export type HttpApp = (incoming: Incoming) => void

/** The answer is under way, or made already, by whoever took the response over. */
const taken = HttpServerResponse.empty()

export const makeHttpApp = Effect.fnUntraced(function* (): Effect.fn.Return<HttpApp, never, Scope.Scope> {
  const services = yield* Effect.context<never>()
  const answer = (route: Route) =>
    Effect.map(CurrentIncoming, (incoming) => {
      exchange({ ...incoming, route, services })
      return taken
    })
  const handlers = groupNames.map((name) => groupOf(name, answer))
  const layer = HttpApiBuilder.layer(httpApi).pipe(
    Layer.provide(Layer.mergeAll(handlers[0]!, ...handlers.slice(1))),
    Layer.provide(platform),
  )
  const routed = yield* HttpRouter.toHttpEffect(layer).pipe(Effect.provideService(HttpRouter.RouterConfig, strict))

  /** Of what leads to no endpoint, or not to its handler. */
  const otherwise = (cause: Cause.Cause<unknown>) =>
    Effect.flatMap(CurrentIncoming, (incoming) => {
      const { request, response, path } = incoming
      const verb = request.method ?? ""
      const isExpected = cause.reasons.some(
        (reason) =>
          (reason._tag === "Die" && HttpApiSchemaError.is(reason.defect)) ||
          (reason._tag === "Fail" && HttpServerError.isHttpServerError(reason.error)),
      )
      if (!isExpected) {
        answerProblem(response, Problem.internal)
        return Effect.as(Effect.logError("a route met a defect", cause), taken)
      }
      const found = match(verb, path)
      if (found._tag === "Found") exchange({ ...incoming, route: found.route, services })
      else answerProblem(response, problemOfMatch(found, path, verb))
      return Effect.succeed(taken)
    })
  const app = HttpEffect.toHandled(Effect.catchCause(routed, otherwise), () => Effect.void)

  return (incoming) => {
    const { method = "GET", url = "/", headers } = incoming.request
    // No more of a request than the router and the decoders look at; its body is read by whoever answers.
    const source = { method, url: `http://localhost${url}`, headers, body: null } as unknown as Request
    const context = services.pipe(
      Context.add(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(source)),
      Context.add(CurrentIncoming, incoming),
    )
    Effect.runForkWith(context)(app)
  }
})

type Answer = (route: Route) => Effect.Effect<HttpServerResponse.HttpServerResponse, never, CurrentIncoming>
type Handle = { readonly handleRaw: (id: string, handler: () => ReturnType<Answer>) => Handle }

/** A handler for each endpoint of the group. The endpoints were made by a function, so their names are no literals. */
const groupOf = (name: GroupName, answer: Answer): Layer.Layer<GroupServices> =>
  HttpApiBuilder.group(httpApi, name, ((handlers: Handle) =>
    routesOf(name).reduce(
      (rest, route) => rest.handleRaw(endpointId(route), () => answer(route)),
      handlers,
    )) as never) as unknown as Layer.Layer<GroupServices>

type GroupServices = HttpApiGroup.Service<"creche", GroupName>

/** Names may be as long as a request's line; what is written otherwise is another path. */
const strict = {
  ignoreTrailingSlash: false,
  ignoreDuplicateSlashes: false,
  caseSensitive: true,
  maxParamLength: 16_384,
}

/** HttpApi asks for what could serve files. Here are none. */
const platform = Layer.mergeAll(
  HttpPlatform.layer.pipe(Layer.provide(Layer.mergeAll(Etag.layer, FileSystem.layerNoop({})))),
  Etag.layer,
  FileSystem.layerNoop({}),
  Path.layer,
)
