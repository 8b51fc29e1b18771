import type { EventEmitter } from 'node:events'
import type { MasterEvents } from './events.js'
import type { RelayFrom } from './generation.js'
import { type Phase, takerOf } from './phase.js'

/** To whoever serves at that moment, which may be a later generation than the one that the giver made way for. */
export function createRelay(phase: () => Phase, events: EventEmitter<MasterEvents>): RelayFrom {
  return async function relay(from, offer, handle) {
    if (phase().name === 'closing') return 'refused'
    const taker = takerOf(phase(), from)
    if (taker === undefined) return 'unavailable'
    const answer = await taker.adopt(offer, handle)
    if (answer === 'adopted') events.emit('moved', from.number < taker.number ? 'forward' : 'back')
    return answer
  }
}
