import { webSocket } from "./adapters/WebSocket.ts"
import { conforms } from "./Transport.ts"

conforms(webSocket)
