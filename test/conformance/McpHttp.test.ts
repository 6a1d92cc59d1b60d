import { mcpHttp } from "./adapters/McpHttp.ts"
import { conforms } from "./Transport.ts"

conforms(mcpHttp)
