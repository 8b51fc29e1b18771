import { plural } from './format.js'
import type { GroupReport, RunReport } from './report.js'

type Facts = Pick<RunReport, 'mode' | 'changes' | 'target'>

/** A request that had waited for so long didn't fail in a race: it hung, in milliseconds. */
const hangTime = 900

/** Whether a request was waited for, and in vain. */
export function isHung({ kind, longest, what }: GroupReport): boolean {
  return (
    kind === 'timeout' ||
    (!isStay(what) && longest >= hangTime && ['reset', 'eof', 'cut body'].includes(kind))
  )
}

/** In one sentence, and what to look at in the application in another. */
export function describeFailure(group: GroupReport, facts: Facts): string {
  const { what, count, status, expected = [] } = group
  const when = whenOf(group, facts)
  const times = plural(count, 'time')
  switch (group.kind) {
    case 'refused':
      return `${what}: the connection was refused ${times}, ${when}. Nobody listened: between two versions the listener was closed.`
    case 'reset':
    case 'eof':
      if (isStay(what))
        return `${what}: ended without a word ${times}, ${when}. Whoever has opened it by another library than ws has to end it in an onDrain hook, or keep() it.`
      if (facts.target.includes('HTTP/2'))
        return `${what}: ${plural(count, 'request')} lost, ${when}. The server ended the session with GOAWAY while the request was on its way: RFC 9113 lets the client repeat it, and browsers do.`
      return `${what}: ${plural(count, 'request')} lost, ${when}. The server closed a connection that it had left open for more, and the request was on its way.`
    case 'cut body':
      return `${what}: ${plural(count, 'answer')} cut in the middle, ${when}. The process ended, or the connection was closed, before all of it was sent.`
    case 'timeout':
      return `${what}: no answer ${times}, ${when}.`
    case '5xx':
      return `${what}: answered with ${status} ${times}, ${when}. The application's own log says why.`
    case 'status':
      return `${what}: answered with ${status} instead of ${expected.join(' or ')} ${times}, ${when}. Look for what the application keeps in memory (sessions, caches, counters): the next version begins without it. A store that both share keeps it.`
    case 'handshake':
      return `${what}: it could not be opened ${times}, ${when}.`
    case 'other':
      return `${what}: failed ${times}, ${when}: ${group.message}.`
  }
}

/** A WebSocket, or a stream of events. */
function isStay(what: string): boolean {
  return /^(?:WebSocket|events) /.test(what)
}

function whenOf({ calm, count, upgrades }: GroupReport, { mode, changes }: Facts): string {
  const noun = mode === 'upgrade' ? 'upgrade' : 'restart'
  if (calm === count) {
    const first = changes[0] === undefined ? '' : `, not around any ${noun}`
    return `in calm times${first}`
  }
  const list =
    upgrades.length > 3
      ? `${upgrades.length} ${noun}s`
      : `${noun}${upgrades.length === 1 ? '' : 's'} ${upgrades.join(', ')}`
  return calm === 0 ? `around ${list}` : `around ${list} and after`
}
