import type { TicketKeys } from '../handover/session-tickets.js'
import type { Generation } from './generation.js'

/** The ticket keys of whoever serves, as far as they are known: a dead worker can't be asked. */
export interface KnownTicketKeys {
  get(): readonly TicketKeys[]
  /** What it doesn't say stays as it was. */
  learnFrom(generation: Generation): Promise<void>
  /** These go before those that are known. */
  prefer(given: readonly TicketKeys[]): void
}

export function createKnownTicketKeys(): KnownTicketKeys {
  let known: readonly TicketKeys[] = []
  return {
    get: () => known,
    async learnFrom(generation) {
      known = (await generation.ticketKeys()) ?? known
    },
    prefer(given) {
      known = [...given, ...known]
    }
  }
}
