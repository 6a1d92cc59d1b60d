import { stdio } from "./adapters/Stdio.ts"
import { conforms } from "./Transport.ts"

conforms(stdio)
