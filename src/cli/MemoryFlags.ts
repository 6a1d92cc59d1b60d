/**
 * How much memory V8 may take for its own ease in a process that stays: a runtime beside which agents work. By itself it
 * lets the space for new objects grow to 128 MiB and collects old ones only when they have doubled and more, so that a
 * child that floods its output makes the runtime large and leaves it so. Called by the executable before it loads a runtime.
 */

/** Without `takeMemoryFlags`, for who starts a runtime as a process of its own. */
export const memoryFlags: ReadonlyArray<string> = ["--max-semi-space-size=8", "--heap-growing-percent=50"]

/**
 * Begins anew with these flags, as the same process: pid, descriptors and arguments stay. Returns where it has them already,
 * and where a Node cannot do that (before 22.15, and on Windows): then V8's own habits hold.
 */
export const takeMemoryFlags = (): void => {
  if (memoryFlags.every((flag) => process.execArgv.includes(flag))) return
  process.execve?.(process.execPath, [process.execPath, ...memoryFlags, ...process.execArgv, ...process.argv.slice(1)])
}
