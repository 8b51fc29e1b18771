/** Who has had an answer of which generation. */
export interface RollCall {
  note(generation: number, who: string): void
  /** Resolves when as many as there are have had one of this generation. */
  complete(generation: number): Promise<void>
}

/** Longest time until it must be complete, in milliseconds. */
const patience = 30_000

export function rollCall(size: number): RollCall {
  const present = new Map<number, Set<string>>()
  const completed = new Map<number, PromiseWithResolvers>()
  return {
    note(generation, who) {
      const all = present.get(generation) ?? new Set()
      present.set(generation, all.add(who))
      if (all.size === size) completion(generation).resolve()
    },
    complete(generation) {
      const { promise, reject } = completion(generation)
      const timer = setTimeout(() => {
        const all = [...(present.get(generation) ?? [])]
        reject(new Error(`of ${size} only ${all.length} met generation ${generation}: ${all}`))
      }, patience)
      return promise.finally(() => clearTimeout(timer))
    }
  }

  function completion(generation: number): PromiseWithResolvers {
    const known = completed.get(generation) ?? promiseWithResolvers()
    completed.set(generation, known)
    return known
  }
}

interface PromiseWithResolvers {
  readonly promise: Promise<void>
  resolve(): void
  reject(error: Error): void
}

/** `Promise.withResolvers()` comes with Node.js 22. */
function promiseWithResolvers(): PromiseWithResolvers {
  let resolve!: () => void
  let reject!: (error: Error) => void
  const promise = new Promise<void>((...both) => ([resolve, reject] = both))
  return { promise, resolve, reject }
}
