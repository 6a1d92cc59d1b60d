import { http1 } from "./adapters/Http.ts"
import { conforms } from "./Transport.ts"

conforms(http1)
