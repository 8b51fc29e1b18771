/** A server that takes connections over, and the way to it, as if it were in another process. */
import type { Server } from 'node:net'
import type { Test } from 'tap'
import type { Connections } from '../../../lib/connections/connections.js'
import { adopt } from '../../../lib/handover/adopt.js'
import type { ConnectionOffer, Relay } from '../../../lib/handover/offer.js'
import type { Listener } from '../../../lib/listeners/listeners.js'
import { type Accepted, type Followed, followHttp } from '../accepted.ts'
import { handlePasser } from '../pass-on.ts'

const address = { key: 'tcp::1', bound: 'here' }

export interface Taker {
  /** What it has. */
  readonly list: Connections
  readonly relay: Relay
  readonly offers: readonly ConnectionOffer[]
}

/** @param says to each request */
export async function playTaker(t: Test, says: string): Promise<Taker> {
  const { list, server } = await followHttp(t, (_request, response) => void response.end(says))
  const listener: Listener = { ...address, server }
  const pass = await handlePasser(t)
  const offers: ConnectionOffer[] = []
  let last: Promise<unknown> = Promise.resolve()
  const relay: Relay = (offer, handle) => {
    offers.push(offer)
    const answer = last.then(async () => adopt([listener], offer, await pass(handle)))
    last = answer
    return answer.then(isAdopted => (isAdopted ? 'adopted' : 'refused'))
  }
  return { list, relay, offers }
}

/** The listeners of a process with this server alone, which a taker has, too. */
export function listenersOf({ server }: Followed) {
  const live = () => [{ ...address, server }]
  const addressOf = (each: Server) => (each === server ? address : undefined)
  return { live, addressOf }
}

/** Each of these has been answered once. */
export async function connectAll({ connect }: Followed, count: number): Promise<Accepted[]> {
  const all: Accepted[] = []
  while (all.length < count) {
    const accepted = await connect()
    await accepted.get()
    all.push(accepted)
  }
  return all
}
