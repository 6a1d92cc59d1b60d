/** What HTTP offers as OpenAPI 3.1: HttpApi's own document of the API. Made once, on first request; called by `HttpDocs`. */
import * as OpenApi from "effect/http-api/OpenApi"
import { documented } from "./HttpContract.ts"

/** `version`: of the runtime. */
export const openApi = (version: string): OpenApi.OpenAPISpec => OpenApi.fromApi(documented(version))
