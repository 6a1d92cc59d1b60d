import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Processes, not threads: the tests spawn children, and a child's parent-death signal fires when a thread ends.
    pool: "forks",
    maxWorkers: Number(process.env["VITEST_MAX_WORKERS"] ?? 2),
    globalSetup: "test/chaos/globalReport.ts",
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
