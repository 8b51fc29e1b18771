import type { Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, connectionOf } from '../connections/connection.js'
import { connectionsOf, statesOf } from '../connections/connections.js'
import { type Exchange, watchResponses } from '../connections/exchanges.js'
import { isMovable } from '../connections/server-kind.js'
import { createHandover } from '../handover/handover.js'
import type { OfferAnswer, Relay } from '../handover/offer.js'
import type { Listeners } from '../listeners/listeners.js'

/** Gives a share of the connections of this process, old and new, to a generation on probation. */
export interface Giver {
  /** No other one goes. Resolves when those have arrived that are on their way, or after a second at the latest. */
  stop(): Promise<unknown>
}

export interface GiverOptions {
  /** Leads to the generation on probation. */
  readonly relay: Relay
  readonly listeners: Pick<Listeners, 'live' | 'addressOf'>
  /** From 0 to 1. */
  readonly share: number
  /** From 0 to 1; what chooses among those that are there. */
  readonly random?: () => number
}

/** For so long those that are on their way are waited for, in milliseconds: who takes them may stand still. */
const settleTime = 1_000

/** How often those are tried again that could not go, in milliseconds: nobody may have been there. */
const retryInterval = 100

export function createGiver({ relay, listeners, share, random = Math.random }: GiverOptions): Giver {
  const over = new AbortController()
  const onTheirWay = new Set<Promise<OfferAnswer>>()
  /** Those that go as soon as they are at rest. */
  const chosen = new Set<Connection>()
  /** So many are due, as the share doesn't come out even: so it is exact also of a few. From a half on it is rounded up. */
  let due = 0.5
  const handover = createHandover({ relay: offer, addressOf: listeners.addressOf, over: over.signal })
  const servers = listeners
    .live()
    .map(({ server }) => server)
    .filter(server => server.listening && isMovable(server))
  for (const server of servers) server.on('connection', onFresh)
  chooseFrom(servers)
  const stopWatching = watchResponses(onFinish)
  const timer = setInterval(consider, retryInterval, chosen)
  timer.unref()
  consider(chosen)
  return {
    stop() {
      over.abort()
      clearInterval(timer)
      stopWatching()
      for (const server of servers) server.off('connection', onFresh)
      return Promise.race([Promise.all(onTheirWay), sleep(settleTime, undefined, { ref: false })])
    }
  }

  function chooseFrom(some: readonly Server[]): void {
    for (const connection of inAnyOrder(some)) choose(connection)
  }

  function inAnyOrder(some: readonly Server[]): Connection[] {
    const connections = some.flatMap(server => [...connectionsOf(server).sockets].map(connectionOf))
    const inOrder = connections.map(connection => ({ connection, order: random() }))
    return inOrder.sort((one, other) => one.order - other.order).map(({ connection }) => connection)
  }

  /** @returns whether this one goes */
  function choose(connection: Connection, part = share): boolean {
    due += part
    if (!isOneDue()) return false
    due -= 1
    chosen.add(connection)
    connection.socket.once('close', () => onClose(connection))
    return true
  }

  /** One that has ended, or gone to a sibling, before it could go: another one goes in its place. */
  function onClose(connection: Connection): void {
    chosen.delete(connection)
    due += 1
    if (over.signal.aborted || !isOneDue()) return
    const other = inAnyOrder(servers).find(each => !chosen.has(each))
    if (other !== undefined && choose(other, 0)) consider([other])
  }

  /** Ten tenths don't come out even. */
  function isOneDue(): boolean {
    return due >= 1 - Number.EPSILON * 100
  }

  function onFresh(socket: Socket): void {
    const connection = connectionOf(socket)
    if (!choose(connection)) return
    setImmediate(consider, [connection]) // Node.js begins to read it in a tick of its own, behind this event
  }

  function onFinish({ socket }: Exchange): void {
    const connection = connectionOf(socket)
    if (chosen.has(connection)) handover.answered(connection)
  }

  function consider(some: Iterable<Connection>): void {
    if (over.signal.aborted) return
    for (const [connection, state] of statesOf(some)) handover.consider(connection, state)
  }

  async function offer(...[connection, handle]: Parameters<Relay>): Promise<OfferAnswer> {
    const answered = relay({ ...connection, isShare: true }, handle)
    onTheirWay.add(answered)
    const answer = await answered
    onTheirWay.delete(answered)
    if (answer === 'adopted') due -= 1 // its end here is none
    return answer
  }
}
