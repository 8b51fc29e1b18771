import { createDeferred } from '../time/deferred.js'

/** What listeners have begun, and not ended yet. */
export interface Running {
  /**
   * @param result what a listener has returned: if it is a promise, it is waited for
   * @param onFailure called if that fails
   */
  add(result: unknown, onFailure: (error: unknown) => void): void
  /** Something that ends the process itself. */
  addEndless(): void
  /** Resolves when nothing is left, or at the last word. */
  done(): Promise<void>
  /** Nobody shall wait any longer. */
  end(): void
}

/** @param onEnd called whenever something has ended */
export function createRunning(onEnd: () => void): Running {
  const running = new Set<Promise<void>>()
  const over = createDeferred()
  return {
    add,
    addEndless: () => void running.add(new Promise(() => {})),
    end: () => over.resolve(),
    async done() {
      const ended = over.promise.then(() => true)
      while (running.size > 0) if ((await Promise.race([...running, ended])) === true) return
    }
  }

  function add(result: unknown, onFailure: (error: unknown) => void): void {
    if (typeof (result as PromiseLike<unknown> | undefined)?.then !== 'function') return
    const { promise: settled, resolve } = createDeferred()
    running.add(settled)
    void Promise.resolve(result)
      .then(undefined, onFailure)
      .finally(() => {
        running.delete(settled)
        onEnd()
        resolve()
      })
  }
}
