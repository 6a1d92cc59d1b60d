import { unixSocket } from "./adapters/UnixSocket.ts"
import { conforms } from "./Transport.ts"

conforms(unixSocket)
