import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { GracefulUpgradeError } from '../errors.js'
import type { Listeners } from '../listeners/listeners.js'

/** What a copy of this package says to the others in its process. */
interface News {
  /** It gets an instance; or else it has been loaded. */
  readonly isUsed: boolean
  /** Its globals: a test runner gives each file some of its own. */
  readonly realm: unknown
  /** Another copy has this process, and keeps it. */
  isTaken: boolean
}

/** Node.js has one channel of a name in a process, whoever asks for it. */
const name = 'fastify-graceful-upgrade'

/**
 * A test runner loads a copy of this package for each file, in one process. Only one of them follows what listens there: two
 * would each give a Unix socket another name. One that nobody uses any more lets go, so that it needs no memory either.
 * @param isNeeded whether this copy is used
 * @param realm a test plays another one
 * @returns to be called when this copy gets an instance. Throws GRACEFUL_UPGRADE_DUPLICATE if another copy has one: both
 * would answer the same signal. One that a test in another file has left open makes way.
 */
export function takeTurns(
  listeners: Pick<Listeners, 'follow' | 'leave'>,
  isNeeded: () => boolean,
  realm: unknown = globalThis
): () => void {
  let isOurs = true
  if (isTaken(false)) leave()
  else subscribe(name, hear)
  return function use() {
    if (isOurs) return
    if (isTaken(true)) throw duplicate()
    isOurs = true
    listeners.follow()
    subscribe(name, hear)
  }

  function isTaken(isUsed: boolean): boolean {
    const news: News = { isUsed, realm, isTaken: false }
    channel(name).publish(news)
    return news.isTaken
  }

  function hear(message: unknown): void {
    const news = message as News
    if (isNeeded() && (!news.isUsed || news.realm === realm)) news.isTaken = true
    else leave()
  }

  function leave(): void {
    isOurs = false
    unsubscribe(name, hear)
    listeners.leave()
  }
}

function duplicate(): GracefulUpgradeError {
  const detail = 'let all of them resolve to one (npm ls fastify-graceful-upgrade)'
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_DUPLICATE', detail)
}
