/**
 * Milliseconds on a clock that never jumps. `performance.now()` is finer, but Node.js loads node:perf_hooks for it: 0.3 MB
 * in a master that has no other use for them.
 */
export function now(): number {
  return process.uptime() * 1_000
}
