/**
 * The reference of the API as one page: Scalar, as it comes with Effect, with its script in the page and the document beside it.
 * Loaded by whoever asks for it first, since it is large.
 */
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiScalar from "effect/http-api/HttpApiScalar"
import { documented } from "./HttpContract.ts"

/** `version`: of the runtime. Nothing is fetched from elsewhere: no fonts, no proxy. */
export const reference = (version: string): Effect.Effect<string> =>
  Effect.gen(function* () {
    const page = HttpApiScalar.layer(documented(version), {
      path: "/docs",
      scalar: { withDefaultFonts: false, hideModels: false },
    })
    const app = yield* HttpRouter.toHttpEffect(page)
    const request = HttpServerRequest.fromWeb(new Request("http://localhost/docs"))
    const response = yield* Effect.provideService(app, HttpServerRequest.HttpServerRequest, request)
    return yield* Effect.promise(() => HttpServerResponse.toWeb(response).text())
  }).pipe(Effect.scoped, Effect.orDie)
