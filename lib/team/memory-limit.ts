import type { Worker } from '../master/generation.js'

export interface MemoryLimitOptions {
  /** Resident set size, in bytes. */
  readonly limit: number
  /** Those that serve, and for how long each has, in milliseconds. */
  workers(): Iterable<readonly [worker: Worker, served: number]>
  /** It has had more at two looks in a row; it is told once. */
  onExceeded(worker: Worker, rss: number): void
  /** Between two looks, in milliseconds. @default 2000 */
  readonly interval?: number
}

/** So long a worker is left in peace, in milliseconds. */
const shortestPeace = 10_000

/** The same where its predecessors had too much so soon that it is no leak: they would be replaced all the time. */
const longestPeace = 640_000

/** Looks at the memory of workers until it is stopped. */
export function limitMemory(options: MemoryLimitOptions): { stop(): void } {
  const { limit, workers, onExceeded, interval = 2_000 } = options
  let above = new WeakSet<Worker>()
  /** It takes its time until another one has their place. */
  const told = new WeakSet<Worker>()
  /** By the place of a worker: it is the same for those that follow. */
  const peaces = new Map<number, number>()
  const timer = setInterval(() => void look(), interval).unref()
  return { stop: () => clearInterval(timer) }

  async function look(): Promise<void> {
    const stillAbove = new WeakSet<Worker>()
    await Promise.all(
      [...workers()].map(async ([worker, served]) => {
        const load = await worker.load()
        if (load === null || load.rss <= limit || told.has(worker)) return
        const [{ worker: place } = { worker: 0 }] = worker.processes()
        const peace = peaces.get(place) ?? shortestPeace
        if (served < peace) return
        if (!above.has(worker)) return void stillAbove.add(worker)
        told.add(worker)
        peaces.set(place, served < 2 * peace ? Math.min(2 * peace, longestPeace) : shortestPeace)
        onExceeded(worker, load.rss)
      })
    )
    above = stillAbove
  }
}
