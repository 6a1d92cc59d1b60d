import { mcpStdio } from "./adapters/Mcp.ts"
import { conforms } from "./Transport.ts"

conforms(mcpStdio)
