import { EventEmitter } from 'node:events'
import type { ConnectionCounts } from './connections.js'
import type { DrainReport } from './drain-report.js'
import { GracefulUpgradeError, isErrorCode, receivedError } from './errors.js'
import type { Listener } from './listeners.js'
import { asRawHandle, asSendHandle, type RawHandle } from './node-internals.js'
import { createOfferChannel } from './offer-channel.js'
import {
  type Relay,
  readMasterMessage,
  type TicketKeys,
  type UpgradeResult,
  type WorkerMessage,
  wrap
} from './protocol.js'

/** The child's side of its master; `worker.ts` is the other. */
export interface Parent
  extends EventEmitter<{
    ticketKeys: [readonly TicketKeys[]]
    serve: []
    upgrading: [boolean]
    retire: []
    close: [NodeJS.Signals | null]
    lost: []
  }> {
  isConnected(): boolean
  /** Keeps the process alive: inherited listeners do so only when they accept. */
  hold(value: boolean): void
  /**
   * Gives the master a listener to hold.
   * @param endTimeout how long the end of this process may take from now on, in milliseconds
   */
  publish(listener: Listener, handle: RawHandle, endTimeout: number): void
  withdraw(listener: Listener): void
  /** @param endTimeout as in `publish()` */
  ready(unclaimed: readonly string[], published: readonly string[], endTimeout: number): void
  dying(): void
  /** Resolves when the master has been told, or can't be any more. */
  drained(report: DrainReport): Promise<void>
  /** Asks the master for an upgrade; rejects with its code. */
  upgrade(): Promise<UpgradeResult>
  /** Offers a connection to the generation that serves now. */
  readonly offer: Relay
}

/**
 * @param take what becomes of a connection that an older generation offers; the handle is its own then
 * @param count what the master is told when it asks
 * @param reveal the same, of the session tickets' keys
 */
export function connectParent(
  take: Relay,
  count: () => ConnectionCounts,
  reveal: () => readonly TicketKeys[]
): Parent {
  const offers = createOfferChannel(send, take)
  const events: Parent = Object.assign(new EventEmitter(), {
    isConnected: () => process.connected,
    hold(value: boolean) {
      if (value) process.channel?.ref()
      else process.channel?.unref()
    },
    publish: ({ server, ...listener }: Listener, handle: RawHandle, endTimeout: number) =>
      send({ type: 'listener', listener, endTimeout }, handle),
    withdraw: ({ key }: Listener) => send({ type: 'unlisten', key }),
    ready: (unclaimed: readonly string[], published: readonly string[], endTimeout: number) =>
      send({ type: 'ready', unclaimed, published, endTimeout }),
    dying: () => send({ type: 'dying' }),
    drained: (report: DrainReport) =>
      new Promise<void>(resolve => send({ type: 'drained', report }, undefined, resolve)),
    upgrade,
    offer: offers.offer
  }) as Parent
  const asked = new Map<number, { resolve(result: UpgradeResult): void; reject(error: Error): void }>()
  let lastId = 0

  process.on('message', onMessage)
  if (process.connected) process.once('disconnect', onDisconnect)
  else process.nextTick(onDisconnect)
  process.channel?.unref() // a worker whose application has closed everything may end by itself
  return events

  function upgrade(): Promise<UpgradeResult> {
    return new Promise((resolve, reject) => {
      const id = ++lastId
      asked.set(id, { resolve, reject })
      send({ type: 'upgrade', id })
    })
  }

  /** An error means that the master is lost, and 'disconnect' says so. */
  function send(message: WorkerMessage, handle?: RawHandle, onSent = () => {}): void {
    if (!process.connected) return onSent()
    process.send?.(wrap(message), handle && asSendHandle(handle), {}, () => onSent())
  }

  function onMessage(message: unknown, handle: unknown): void {
    const said = readMasterMessage(message)
    if (said === undefined || said === 'unknown') return
    switch (said.type) {
      case 'serve':
      case 'retire':
        return void events.emit(said.type)
      case 'offer':
      case 'offered':
      case 'answer':
        return offers.receive(said, asRawHandle(handle))
      case 'count':
        return send({ type: 'counted', id: said.id, connections: count() })
      case 'reveal':
        return send({ type: 'revealed', id: said.id, ticketKeys: reveal() })
      case 'ticketKeys':
        return void events.emit('ticketKeys', said.ticketKeys)
      case 'upgrading':
        return void events.emit('upgrading', said.value)
      case 'close':
        return void events.emit('close', said.signal)
      case 'upgraded':
        return settle(said.id)?.resolve(said.result)
      case 'refused': {
        const code = isErrorCode(said.code) ? said.code : 'GRACEFUL_UPGRADE_MASTER_LOST'
        return settle(said.id)?.reject(receivedError(code, said.message, said.lastWords))
      }
    }
  }

  function settle(id: number) {
    const waiting = asked.get(id)
    asked.delete(id)
    return waiting
  }

  function onDisconnect(): void {
    process.off('message', onMessage)
    for (const id of [...asked.keys()])
      settle(id)?.reject(new GracefulUpgradeError('GRACEFUL_UPGRADE_MASTER_LOST'))
    offers.close('lost')
    events.emit('lost')
  }
}
