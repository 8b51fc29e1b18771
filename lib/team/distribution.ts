import { type ConnectionOffer, listenerOf, type OfferAnswer } from '../handover/offer.js'
import type { RawHandle } from '../internals/raw-handle.js'
import type { Worker } from '../master/generation.js'

/** Which of several workers takes a connection that has to go elsewhere. */
export interface Distribution {
  /** Offers it to one after the other, the least loaded first, as long as nobody is there. */
  give(takers: readonly Worker[], offer: ConnectionOffer, handle: RawHandle): Promise<OfferAnswer>
  /** How busy one is, from 0 to 1. */
  learn(worker: Worker, elu: number): void
}

interface Weight {
  /** As it was seen last. */
  readonly elu: number
  /** How many connections it has got since. */
  given: number
}

/** What a connection adds to the load of a worker, until that is seen: enough to have them go to all in turn. */
const eluOfOne = 0.02

export function createDistribution(): Distribution {
  const weights = new WeakMap<Worker, Weight>()
  return {
    async give(takers, offer, handle) {
      const best = [...takers].sort((one, other) => rank(one, offer) - rank(other, offer))
      for (const worker of best) {
        const weight = weightOf(worker)
        weight.given++
        const answer = await worker.adopt(offer, handle)
        if (answer !== 'unavailable') return answer
        weight.given--
      }
      return 'unavailable'
    },
    learn: (worker, elu) => void weights.set(worker, { elu, given: 0 })
  }

  /** Whoever doesn't listen there comes last: it would refuse it. */
  function rank(worker: Worker, offer: ConnectionOffer): number {
    const listener = listenerOf(offer)
    const listens = worker
      .listeners()
      .some(({ key, bound }) => key === listener.key || bound === listener.bound)
    const { elu, given } = weightOf(worker)
    return elu + given * eluOfOne + (listens ? 0 : 1_000_000)
  }

  function weightOf(worker: Worker): Weight {
    let weight = weights.get(worker)
    if (weight === undefined) {
      weight = { elu: 0, given: 0 }
      weights.set(worker, weight)
    }
    return weight
  }
}
