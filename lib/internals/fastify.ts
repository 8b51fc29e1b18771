/** The only file that touches what Fastify does not document; all of it is there in every fastify 5. */
import type { FastifyInstance } from 'fastify'

/**
 * The `gracefulUpgrade` key of the server options. Fastify keeps unknown keys out of `initialConfig`, but holds
 * the options as given under the symbol `fastify.options`.
 */
export function serverOption(app: FastifyInstance): unknown {
  for (let object: object | null = app; object !== null; object = Object.getPrototypeOf(object)) {
    const symbol = Object.getOwnPropertySymbols(object).find(
      ({ description }) => description === 'fastify.options'
    )
    if (symbol === undefined) continue
    const options = (object as Record<symbol, { gracefulUpgrade?: unknown } | undefined>)[symbol]
    return options?.gracefulUpgrade
  }
  return undefined
}

/** Whether one is the other, or both are plugins of one server: Fastify makes an instance for a plugin by `Object.create()`. */
export function isOneServer(one: FastifyInstance, other: FastifyInstance): boolean {
  return rootOf(one) === rootOf(other)
}

function rootOf(app: object): object {
  for (let object = app; ; ) {
    const above = Object.getPrototypeOf(object)
    if (above === null || !('server' in above)) return object
    object = above
  }
}

/**
 * Runs `drain` when `fastify.close()` begins: before `preClose`, before 503s are answered, before the server
 * is closed. Handlers run last in, first out, and Fastify adds its own when booting ends; so this one, added
 * from an `onReady` hook, comes before it. `addHook()` may refuse at that time, avvio's `onClose()` does not.
 */
export function drainBeforeClose(app: FastifyInstance, drain: () => Promise<void>): void {
  ;(app as unknown as { onClose(handler: () => Promise<void>): void }).onClose(drain)
}

/** Calls whenever somebody calls `fastify.close()`, and in that very call: Fastify's handlers hear of the first one alone. */
export function onCloseCalled(app: FastifyInstance, call: () => void): void {
  let owner: Closable = app
  while (!Object.hasOwn(owner, 'close')) owner = Object.getPrototypeOf(owner)
  const { close } = owner
  owner.close = function (...args) {
    call()
    return close.apply(this, args)
  }
}

interface Closable {
  close(...args: never[]): unknown
}
