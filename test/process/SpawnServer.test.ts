import { spawnerSuite } from "../contracts/spawnerSuite.ts"
import { noGuard } from "./SpawnerBench.ts"

spawnerSuite("guard", noGuard)
