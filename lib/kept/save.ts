import type { IncomingMessage } from 'node:http'
import type { Log } from '../log.js'
import { routeOf } from './head.js'

/**
 * @param save of the application
 * @param maxState in bytes
 * @returns what it saves as JSON, or undefined with a warning that names the route
 */
export function createSave(
  save: () => unknown,
  maxState: number,
  request: IncomingMessage,
  log: Pick<Log, 'warn'>
): () => string | undefined {
  return () => {
    try {
      return toJson(save(), maxState)
    } catch (error) {
      log.warn({ err: error, route: routeOf(request) }, 'a connection is not kept: no state')
      return undefined
    }
  }
}

function toJson(state: unknown, maxState: number): string {
  if (typeof (state as { then?: unknown } | null | undefined)?.then === 'function')
    throw new TypeError('the state is a promise: it must be there at once')
  const json = JSON.stringify(state) as string | undefined
  if (json === undefined) throw new TypeError(`the state is no JSON, but ${typeof state}`)
  const length = Buffer.byteLength(json)
  if (length > maxState) throw new RangeError(`the state has ${length} bytes, and may have ${maxState}`)
  return json
}
