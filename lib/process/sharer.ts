import type { Server, Socket } from 'node:net'
import { type Connection, connectionOf } from '../connections/connection.js'
import { connectionsOf } from '../connections/connections.js'
import { watchResponses } from '../connections/exchanges.js'
import { isMovable } from '../connections/server-kind.js'
import { announceClose } from '../drain/http1.js'
import { createHandover } from '../handover/handover.js'
import type { ConnectionOffer, OfferAnswer, Relay } from '../handover/offer.js'
import type { RawHandle } from '../internals/raw-handle.js'
import { keptOf } from '../kept/kept.js'
import { createMover } from '../kept/mover.js'
import type { ListenerAddress } from '../listeners/address.js'
import type { Listeners } from '../listeners/listeners.js'
import type { Log } from '../log.js'
import type { Shared, ShareRequest } from '../protocol/team.js'
import { idlePause } from '../time/pause.js'

/** Lets other workers have some of the work of this one: connections on which requests or messages come, and no others. */
export interface Sharer {
  /**
   * Takes some 400 ms, more where this process is busy. Does nothing where only one connection is busy, as that would
   * take its load elsewhere as it is, nor while another request is under way.
   */
  share(request: ShareRequest): Promise<Shared>
}

export interface SharerOptions {
  /** Leads to the other workers. */
  readonly relay: Relay
  readonly listeners: Pick<Listeners, 'live' | 'addressOf'>
  readonly log: Pick<Log, 'warn'>
}

/** What a request comes to of which nothing is done. */
export const nothingShared: Shared = { wanted: 0, gone: 0 }

/** For so long it is only counted which connections are busy, in milliseconds. */
const countTime = 120

/** For so long connections go then, in milliseconds. */
const goTime = 280

/** For so long the last of them are waited for, in milliseconds: who takes them may stand still. */
const settleTime = 150

/** How soon another one goes in the place of one that was refused, in milliseconds. */
const retryTime = 10

/** Those on which something has come or gone. */
interface Busy {
  /** So many have been answered. */
  readonly answered: number
  readonly kept: readonly Socket[]
}

/**
 * Nothing of this runs per request, but while the master's request is under way, and nothing per message.
 * @param wait resolves after so many milliseconds, or when it is over
 */
export function createSharer(options: SharerOptions, wait = idlePause): Sharer {
  const { relay, listeners } = options
  let state: 'idle' | 'sharing' = 'idle'
  return {
    async share({ share, how }) {
      if (state === 'sharing') return nothingShared
      state = 'sharing'
      const { answered, kept } = await findBusy()
      const part = (count: number) => (count > 1 ? Math.max(Math.floor(count * share), 1) : 0)
      const wanted = part(how === 'move' ? answered + kept.length : answered)
      const gone =
        wanted === 0 ? 0 : await (how === 'move' ? move(wanted, { answered, kept }) : close(wanted))
      state = 'idle'
      return { wanted, gone }
    }
  }

  /** None of a server that drains: that has a way for its connections, and knows who else is told to go. */
  function addressOf(server: Server): ListenerAddress | undefined {
    return server.listening && isMovable(server) ? listeners.addressOf(server) : undefined
  }

  function servers(): Server[] {
    return listeners.live().flatMap(({ server }) => (addressOf(server) ? [server] : []))
  }

  async function findBusy(): Promise<Busy> {
    const answered = new Set<Connection>()
    const stop = watchResponses(({ socket }) => {
      const connection = connectionOf(socket)
      if (connection.server !== undefined && addressOf(connection.server) !== undefined)
        answered.add(connection)
    })
    const before = new Map(keptSockets().map(socket => [socket, bytesOf(socket)]))
    await wait(countTime)
    stop()
    const kept = keptSockets().filter(socket => (before.get(socket) ?? 0) < bytesOf(socket))
    return { answered: answered.size, kept }
  }

  function keptSockets(): Socket[] {
    return servers().flatMap(server => [...connectionsOf(server).sockets].filter(isKept))
  }

  /** @returns how many have arrived elsewhere */
  async function move(wanted: number, { answered, kept }: Busy): Promise<number> {
    const over = new AbortController()
    const onTheirWay = new Set<Promise<OfferAnswer>>()
    let gone = 0
    const isWanted = () => gone + onTheirWay.size < wanted
    const nextIn = () => (isWanted() ? 0 : retryTime)
    const pace = { wait: nextIn, count() {}, restart() {} }
    const handover = createHandover({ relay: offer, addressOf, pace, over: over.signal })
    if (kept.length > 0) moveKept(Math.round((wanted * kept.length) / (answered + kept.length)))
    const stop = watchResponses(({ socket }) => handover.answered(connectionOf(socket)))
    await wait(goTime, over.signal)
    stop()
    over.abort()
    await Promise.race([Promise.all(onTheirWay), wait(settleTime)])
    return gone

    async function offer(connection: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer> {
      const answered = relay(connection, handle)
      onTheirWay.add(answered)
      const answer = await answered
      onTheirWay.delete(answered)
      if (answer === 'adopted') gone++
      if (gone >= wanted || answer === 'unavailable' || answer === 'lost') over.abort()
      return answer
    }

    function moveKept(count: number): void {
      let left = 0
      const mover = createMover({
        relay: offer,
        addressOf,
        log: options.log,
        isWanted: () => left < count && isWanted(),
        onLeft() {
          left++
          return () => {}
        }
      })
      over.signal.addEventListener('abort', mover.stop)
      for (const socket of kept) mover.consider(connectionOf(socket))
    }
  }

  /** @returns how many have been told, by their responses, to come again */
  async function close(wanted: number): Promise<number> {
    const over = new AbortController()
    const told = new Set<Socket>()
    const announcement = announceClose(new Map(servers().map(server => [server, connectionsOf(server)])), {
      wants,
      onResponseEnd() {},
      onTold(socket) {
        told.add(socket)
        if (told.size === wanted) over.abort()
      }
    })
    await wait(goTime, over.signal)
    announcement.stop()
    over.abort()
    return told.size

    /** Asked when a request begins, and again when the head of its response is written: it may be over by then. */
    function wants(socket: Socket): boolean {
      const { server } = connectionOf(socket)
      return !over.signal.aborted && server !== undefined && addressOf(server) !== undefined
    }
  }
}

function isKept(socket: Socket): boolean {
  return keptOf(socket)?.phase === 'here'
}

/** What has come and gone on a connection. */
function bytesOf({ bytesRead, bytesWritten }: Socket): number {
  return bytesRead + bytesWritten
}
