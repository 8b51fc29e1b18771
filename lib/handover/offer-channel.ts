import type { RawHandle } from '../internals/raw-handle.js'
import { createPending } from '../time/pending.js'
import type { ConnectionOffer, OfferAnswer, OfferMessage, Relay } from './offer.js'

/** One end of the way that offered connections take between two processes; both ends are alike. */
export interface OfferChannel {
  /** Offers a connection to the other end. Never answered by a timeout: silence is no answer. */
  readonly offer: Relay
  /** What the other end said. */
  receive(message: OfferMessage, handle: RawHandle | undefined): void
  /** The other end is gone: so much is known of what it has taken, and not answered. */
  close(answer: 'unavailable' | 'lost'): void
}

/**
 * @param send queues a message behind the ones before it, the handle with it; `onSent` is called when it has left, or
 * can't, behind a handle never before the other end has taken that
 * @param take what this end does with a connection that is offered to it; the handle is its own then
 */
export function createOfferChannel(
  send: (message: OfferMessage, handle?: RawHandle, onSent?: (error: Error | null) => void) => void,
  take: Relay
): OfferChannel {
  const pending = createPending<OfferAnswer>()
  /** What the other end has not got yet, and so can't have given on. */
  const untaken = new Set<number>()
  const arrived = new Set<number>()
  let isClosed = false

  return {
    offer(offer: ConnectionOffer, handle: RawHandle) {
      if (isClosed) return Promise.resolve('unavailable')
      return pending.ask(id => {
        untaken.add(id)
        let hasLeft = true
        send({ type: 'offer', id, offer }, handle, error => {
          hasLeft = !error
        })
        // If only this one can't be sent the other end died after it had taken the offer: it may have given it on.
        send({ type: 'offered', id }, undefined, () => {
          if (hasLeft) untaken.delete(id)
        })
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
          pending.answer(id, message.answer)
      }
    },

    close(answer) {
      isClosed = true
      for (const id of untaken) pending.answer(id, 'unavailable')
      pending.answerAll(answer)
    }
  }
}
