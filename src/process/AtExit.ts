/**
 * What has to be done when this process ends while JavaScript still runs: it comes to its end, throws, calls `process.exit`,
 * or gets a signal that nobody listens to. A program that listens to the signal decides for itself. SIGKILL is
 * beyond it: that is what guards, ledger and sweep are for. Listens only while something is registered.
 */
const signals = ["SIGHUP", "SIGINT", "SIGTERM"] as const

const registered = new Set<() => void>()

const runAll = (): void => {
  for (const run of registered) {
    registered.delete(run)
    try {
      run()
    } catch {
      // The process is ending; what can still be done for the others is done.
    }
  }
}

const onSignal = (signal: NodeJS.Signals): void => {
  // With a listener of its own the program may live on.
  if (process.listenerCount(signal) > 1) return
  runAll()
  stopListening()
  process.kill(process.pid, signal)
}

const listen = (): void => {
  process.on("exit", runAll)
  for (const signal of signals) process.on(signal, onSignal)
}

const stopListening = (): void => {
  process.removeListener("exit", runAll)
  for (const signal of signals) process.removeListener(signal, onSignal)
}

/** `run` must be synchronous. What is returned takes it back. */
export const atExit = (run: () => void): (() => void) => {
  if (registered.size === 0) listen()
  registered.add(run)
  return () => {
    if (registered.delete(run) && registered.size === 0) stopListening()
  }
}
