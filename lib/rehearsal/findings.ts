import { describeHoldUp } from '../drain/hold-up.js'
import { describeLoss } from '../drain/report.js'
import { describeFailure, isHung } from './failure-sentence.js'
import { milliseconds, plural } from './format.js'
import type { ChangeReport, GroupReport, RunReport } from './report.js'
import { isFriendly } from './stay.js'

/** One thing that the rehearsal has found, in a sentence that says what to look at. */
export interface Finding {
  /** `fault` of the change of versions itself; `failure` of requests, which are counted; `note` for what is good to know. */
  readonly level: 'fault' | 'failure' | 'note'
  readonly text: string
}

/** Where a boot takes longer, it is worth a note, in milliseconds. */
const slowBoot = 3_000

/** Of clients, in milliseconds: a delay below it is nothing to speak of. */
const leastDelay = 10

/** What is known of a run before it is judged. */
export type Facts = Omit<RunReport, 'findings'>

/** @param complaints what the application's log calls an error */
export function findingsOf(facts: Facts, complaints: readonly string[], usual: readonly string[]): Finding[] {
  return [
    ...died(facts),
    ...failedChanges(facts),
    ...badEnds(facts, complaints),
    ...hung(facts),
    ...facts.groups.filter(group => !isHung(group)).map(group => failure(describeFailure(group, facts))),
    ...stays(facts),
    ...slowBoots(facts),
    ...reconnects(facts),
    ...usual.map(note),
    ...ownDelay(facts)
  ]
}

function died({ death }: Facts): Finding[] {
  if (death === undefined) return []
  const said = death.lastWords === '' ? '' : ` It said: ${lastLine(death.lastWords)}.`
  return [fault(`The application ended in the middle of the rehearsal: ${death.how}.${said}`)]
}

function failedChanges({ changes }: Facts): Finding[] {
  const failed = changes.filter(change => change.failure !== undefined)
  const messages = new Map(failed.map(change => [change.failure?.code, change]))
  return [...messages.values()].map(({ failure: reason }) => {
    const all = failed.filter(change => change.failure?.code === reason?.code)
    const words = reason?.lastWords ?? ''
    const said = words === '' ? '' : ` It said: ${lastLine(words)}.`
    return fault(
      `${which(all)} failed, and the old version served on: ${reason?.message}.${said}${advice(reason?.code, words)}`
    )
  })
}

function advice(code: string | undefined, words: string): string {
  if (/EADDRINUSE/.test(words))
    return ' While both versions run, each binds it: only what listens by node:net in the main thread is handed over (not a UDP socket, a worker thread, another process).'
  if (code === 'GRACEFUL_UPGRADE_READY_TIMEOUT') return ' Look at what it waits for before it listens.'
  return ''
}

function badEnds({ changes }: Facts, complaints: readonly string[]): Finding[] {
  const bad = changes.filter(({ badEnd }) => badEnd !== undefined)
  if (bad.length === 0) return []
  const log = complaints.length === 0 ? '' : ` Its log: ${complaints.slice(-3).join(' / ')}.`
  const how = [...new Set(bad.map(({ badEnd }) => badEnd))].join(', ')
  return [
    fault(
      `After ${which(bad)} the old version did not end as it should (${how}): an onClose hook has thrown, or has taken longer than closeTimeout.${log}`
    )
  ]
}

/** What held an old version until it was cut, or until the rehearsal was over. */
function hung({ changes, groups, mode }: Facts): Finding[] {
  if (mode !== 'upgrade') return []
  const held = hangers(groups)
  const cut = changes.flatMap(change => {
    const loss = change.report && describeLoss(change.report)
    return loss === undefined ? [] : [{ change, loss }]
  })
  if (cut.length > 0) {
    const losses = [...new Set(cut.map(({ loss }) => loss))].join('; ')
    const where = which(cut.map(({ change }) => change))
    const known = cut
      .flatMap(({ change }) => change.report?.cutOff ?? [])
      .filter(({ kind }) => kind !== 'other')
    const names = new Set(known.map(describeHoldUp))
    const what = names.size === 0 ? '' : ` (${[...names].join(', ')})`
    return [
      fault(
        `After ${where} the old version was not done within drainTimeout, and cut ${losses}${what}.${held}`
      )
    ]
  }
  const left = changes.filter(
    ({ boot, drain, failure }) => boot !== undefined && drain === undefined && !failure
  )
  if (left.length > 0)
    return [fault(`After ${which(left)} the old version had not ended when the rehearsal was over.${held}`)]
  return held === '' ? [] : [fault(`Requests were not answered in time.${held}`)]
}

/** Requests that hung, and what to do about them. */
function hangers(groups: readonly GroupReport[]): string {
  const times = new Map<string, { count: number; longest: number }>()
  for (const { what, count, longest } of groups.filter(isHung)) {
    const sum = times.get(what) ?? { count: 0, longest: 0 }
    times.set(what, { count: sum.count + count, longest: Math.max(sum.longest, longest) })
  }
  if (times.size === 0) return ''
  const list = [...times].map(
    ([what, { count, longest }]) => `${what} (${plural(count, 'time')}, for up to ${milliseconds(longest)})`
  )
  return ` What hung: ${list.join(', ')}. Let a handler that may take long end on app.gracefulUpgrade.signal, or set drainTimeout higher.`
}

function stays({ stays, mode }: Facts): Finding[] {
  return stays.flatMap(({ name, closed, missed, doubled }) => {
    const ends = Object.entries(closed).filter(([end]) => isFriendly(end))
    const told = ends.reduce((sum, [, count]) => sum + count, 0)
    const codes = ends.map(([end]) => end).join(', ')
    return [
      ...(missed > 0
        ? [
            fault(
              `${name}: ${plural(missed, 'event')} missed: save in keep() what was written, or look up what came since last-event-id.`
            )
          ]
        : []),
      ...(doubled > 0 ? [note(`${name}: ${plural(doubled, 'event')} came twice.`)] : []),
      ...(told > 0 && mode === 'upgrade'
        ? [
            note(
              `${name}: told to come again ${plural(told, 'time')} (${codes}). With keep() it stays open over upgrades.`
            )
          ]
        : [])
    ]
  })
}

function slowBoots({ changes, mode }: Facts): Finding[] {
  const slow = changes.filter(({ boot = 0 }) => boot > slowBoot)
  if (slow.length === 0 || mode !== 'upgrade') return []
  const longest = milliseconds(Math.max(...slow.map(({ boot = 0 }) => boot)))
  return [
    note(
      `The new version takes up to ${longest} until it serves: a slow boot. Nobody notices, but each deployment takes as long.`
    )
  ]
}

function reconnects({ reconnected, mode, target }: Facts): Finding[] {
  if (reconnected === 0 || mode !== 'upgrade') return []
  const why = /TLS|HTTP\/2/.test(target)
    ? 'TLS and HTTP/2 that Node.js itself speaks do not move: a proxy that speaks them keeps these clients connected.'
    : "Their next request came before their connection had moved, and its answer said Connection: close, which is no failure. With --handover all (handover: 'all') they keep their connections."
  return [note(`${plural(reconnected, 'client')} had to reconnect. ${why}`)]
}

/** A client that is late itself measures itself. */
function ownDelay({ clientDelay: { p99, longest }, around, calm }: Facts): Finding[] {
  const slowest = Math.max(around?.p999 ?? 0, calm?.p999 ?? 0)
  if (p99 < leastDelay && (longest < leastDelay || longest < slowest / 2)) return []
  return [
    note(
      `The clients themselves were late, by up to ${milliseconds(longest)} (1 of 100 times by more than ${milliseconds(p99)}): this machine has too few cores for the load, and latencies of that size are not the server's. Take fewer --clients, or a longer --pause.`
    )
  ]
}

function which(changes: readonly Pick<ChangeReport, 'number'>[]): string {
  const numbers = changes.map(({ number }) => number)
  if (numbers.length > 3) return `${numbers.length} upgrades`
  return `upgrade${numbers.length === 1 ? '' : 's'} ${numbers.join(', ')}`
}

function lastLine(words: string): string {
  const lines = words.split('\n').filter(line => line.trim() !== '')
  const error = lines.find(line => /Error\b[^:]*:/.test(line))
  return (error ?? lines.at(-1) ?? '').trim()
}

function fault(text: string): Finding {
  return { level: 'fault', text: text.replace(/^u/, 'U') }
}

function failure(text: string): Finding {
  return { level: 'failure', text }
}

function note(text: string): Finding {
  return { level: 'note', text }
}
