import { inProcess } from "./adapters/InProcess.ts"
import { conforms } from "./Transport.ts"

conforms(inProcess)
