import { AsyncLocalStorage } from 'node:async_hooks'
import type { DrainReason } from '../drain/report.js'
import type { Log } from '../log.js'

/**
 * What an application says goodbye with.
 * @param moves whether a WebSocket, a response or a socket goes on in the next process: its client needs no goodbye
 */
export type DrainHook = (reason: DrainReason, moves: (connection: object) => boolean) => unknown

/** Those of one instance. */
export interface DrainHooks {
  /**
   * One that comes late runs at once.
   * @returns takes it off
   */
  add(hook: DrainHook): () => void
  /** Resolves when all are done, but for those that have called `close()`: it waits for the drain, and this one for them. */
  run(reason: DrainReason): Promise<unknown>
  /** To be called in each call of any `fastify.close()`. */
  closeCalled(): void
  /** Nobody waits for them any more. */
  over(): void
}

/**
 * @param signal aborted when the drain begins, with its reason
 * @param moves what a hook is given
 */
export function createDrainHooks(
  signal: AbortSignal,
  moves: (connection: object) => boolean,
  log: Pick<Log, 'error'>
): DrainHooks {
  const hooks = new Set<{ readonly call: DrainHook }>()
  /** In which hook the code is that runs; none from the end of the drain on, as it slows down all that is asynchronous. */
  const inHook = new AsyncLocalStorage<() => void>()
  return {
    add,
    run: reason => Promise.all([...hooks].map(({ call }) => untilItCloses(call, reason))),
    closeCalled: () => inHook.getStore()?.(),
    over: () => inHook.disable()
  }

  function add(call: DrainHook): () => void {
    if (signal.aborted) {
      void runHook(call, signal.reason)
      return () => {}
    }
    const hook = { call } // the same function may be added twice
    hooks.add(hook)
    return () => void hooks.delete(hook)
  }

  function untilItCloses(call: DrainHook, reason: DrainReason): Promise<void> {
    return new Promise(resolve => {
      void inHook.run(resolve, () => runHook(call, reason).then(resolve))
    })
  }

  /** One that fails must not keep the others, nor the connections, from their end. */
  async function runHook(call: DrainHook, reason: DrainReason): Promise<void> {
    try {
      await call(reason, moves)
    } catch (error) {
      log.error({ err: error }, 'an onDrain hook failed')
    }
  }
}
