import { httpSocket } from "./adapters/Http.ts"
import { conforms } from "./Transport.ts"

conforms(httpSocket)
