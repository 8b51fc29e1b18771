import type { RawHandle } from './node-internals.js'
import type { ConnectionOffer, OfferAnswer, OfferMessage, Relay } from './protocol.js'

/** One end of the way that offered connections take between two processes; both ends are alike. */
export interface OfferChannel {
  /** Offers a connection to the other end. Never answered by a timeout: silence is no answer. */
  readonly offer: Relay
  /** What the other end said. */
  receive(message: OfferMessage, handle: RawHandle | undefined): void
  /** The other end is gone: so much is known of what it has not answered. */
  close(answer: 'unavailable' | 'lost'): void
}

/**
 * @param send queues a message behind the ones before it, the handle with it
 * @param take what this end does with a connection that is offered to it; the handle is its own then
 */
export function createOfferChannel(
  send: (message: OfferMessage, handle?: RawHandle) => void,
  take: Relay
): OfferChannel {
  const waiting = new Map<number, (answer: OfferAnswer) => void>()
  const arrived = new Set<number>()
  let lastId = 0
  let isClosed = false

  return {
    offer(offer: ConnectionOffer, handle: RawHandle) {
      if (isClosed) return Promise.resolve('unavailable')
      return new Promise(resolve => {
        const id = ++lastId
        waiting.set(id, resolve)
        send({ type: 'offer', id, offer }, handle)
        send({ type: 'offered', id })
      })
    },

    receive(message, handle) {
      const { id } = message
      switch (message.type) {
        case 'offer':
          if (handle === undefined) return // 'offered' will find that out
          arrived.add(id)
          return void take(message.offer, handle).then(answer => send({ type: 'answer', id, answer }))
        case 'offered':
          // At its descriptor limit the system drops the socket, and Node.js the message that it came with.
          if (!arrived.delete(id)) send({ type: 'answer', id, answer: 'refused' })
          return
        case 'answer':
          waiting.get(id)?.(message.answer)
          waiting.delete(id)
      }
    },

    close(answer) {
      isClosed = true
      for (const resolve of waiting.values()) resolve(answer)
      waiting.clear()
    }
  }
}
