import { type FailureKind, failureKinds } from './failure.js'
import { latenciesOf, timelineOf } from './latencies.js'
import type { Plan } from './plan.js'
import type { ChangeReport, RunReport } from './report.js'
import type { Tally } from './tally.js'

type Numbers = Pick<
  RunReport,
  | 'requests'
  | 'failures'
  | 'losses'
  | 'kinds'
  | 'groups'
  | 'clients'
  | 'reconnects'
  | 'reconnected'
  | 'around'
  | 'calm'
  | 'timeline'
>

/** What was counted in a whole run. */
export function numbersOf(tally: Tally, plan: Pick<Plan, 'clients'>): Numbers {
  const { answers, failures, losses, reconnects } = tally.total()
  const groups = tally.groups.map(({ upgrades, ...group }) => ({ ...group, upgrades: [...upgrades] }))
  const order = (kind: FailureKind) => failureKinds.indexOf(kind)
  groups.sort((one, other) => order(one.kind) - order(other.kind))
  const kinds: Partial<Record<FailureKind, number>> = {}
  for (const { kind, count } of groups) kinds[kind] = (kinds[kind] ?? 0) + count
  const around = latenciesOf([...tally.upgrades.values()])
  const calm = latenciesOf([tally.calm])
  return {
    requests: answers + failures,
    failures,
    losses,
    kinds,
    groups,
    clients: plan.clients,
    reconnects,
    reconnected: tally.reconnected(),
    ...(around && { around }),
    ...(calm && { calm }),
    timeline: timelineOf(tally.steps)
  }
}

/** The same of one change. */
export function shareOf(
  { upgrades }: Tally,
  number: number
): Pick<ChangeReport, 'answers' | 'failures' | 'reconnects' | 'latencies'> {
  const share = upgrades.get(number)
  if (share === undefined) return { answers: 0, failures: 0, reconnects: 0 }
  const { answers, failures, reconnects } = share
  const latencies = latenciesOf([share])
  return { answers, failures, reconnects, ...(latencies && { latencies }) }
}

/** Requests that nobody would expect to be answered so, in words. */
export function unusual(tally: Tally): string[] {
  return [...tally.usual()].flatMap(([{ name, expect }, statuses]) => {
    const odd = [...statuses].filter(status => status >= 400)
    if (odd.length === 0 || expect !== undefined) return []
    return [
      `${name} was answered with ${odd.join(', ')} already before the first upgrade: name requests that matter by --request.`
    ]
  })
}
