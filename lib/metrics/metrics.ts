import type { Status } from '../control/messages.js'
import type { Counters, Times } from './counters.js'
import { type Family, type Sample, writeOpenMetrics } from './openmetrics.js'

const generationStates = ['booting', 'probation', 'serving', 'closing', 'draining'] as const

const connectionStates = ['fresh', 'idle', 'active', 'detached'] as const

/** A service as its master sees it, in the text format of OpenMetrics. */
export function metricsOf(status: Status, counters: Counters): string {
  return writeOpenMetrics(
    familiesOf(status, counters).map(each => ({ ...each, name: `graceful_upgrade_${each.name}` }))
  )
}

function familiesOf({ generations }: Pick<Status, 'generations'>, counters: Counters): Family[] {
  const { lastSuccess } = counters
  const generation = counters.generation ?? generations[0]?.generation
  const workers = generations.flatMap(({ workers = [] }) => workers)
  return [
    {
      name: 'generation',
      type: 'gauge',
      help: 'The number of the generation that serves.',
      samples: generation === undefined ? [] : [{ value: generation }]
    },
    {
      name: 'generations',
      type: 'gauge',
      help: 'How many generations there are.',
      samples: generationStates.map(state => ({
        labels: { state },
        value: generations.filter(each => each.state === state).length
      }))
    },
    {
      name: 'upgrades',
      type: 'counter',
      help: 'Upgrades that were asked for; refused are those that have not begun.',
      samples: each('result', counters.upgrades)
    },
    {
      name: 'last_upgrade_successful',
      type: 'gauge',
      help: 'Whether the last upgrade that has begun succeeded; the first start counts as one.',
      samples: [{ value: Number(counters.isLastSuccessful) }]
    },
    {
      name: 'last_upgrade_success_timestamp_seconds',
      type: 'gauge',
      unit: 'seconds',
      help: 'When the last upgrade has succeeded; the first start counts as one.',
      samples: lastSuccess === undefined ? [] : [{ value: lastSuccess / 1_000 }]
    },
    {
      name: 'upgrade_duration_seconds',
      type: 'summary',
      unit: 'seconds',
      help: 'How long new generations took until they were ready, probations, and the drains of old ones.',
      samples: Object.entries(counters.durations).flatMap(([phase, times]) => samplesOf({ phase }, times))
    },
    {
      name: 'connections',
      type: 'gauge',
      help: 'Open connections of all generations.',
      samples: connectionStates.map(state => ({
        labels: { state },
        value: workers.reduce((sum, { connections }) => sum + (connections?.[state] ?? 0), 0)
      }))
    },
    {
      name: 'connections_moved',
      type: 'counter',
      help: 'Connections that were given, open, to a later generation, back to the one before, or to a sibling.',
      samples: each('direction', counters.moved)
    },
    {
      name: 'longest_pause_seconds',
      type: 'gauge',
      unit: 'seconds',
      help: 'The longest time in which nobody read a connection that moved, of the last drain.',
      samples: [{ value: counters.longestPause / 1_000 }]
    },
    {
      name: 'worker_restarts',
      type: 'counter',
      help: 'Workers in whose place another one was started, but for upgrades.',
      samples: each('reason', counters.restarts)
    }
  ]
}

/** One sample for each of these counts. */
function each(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }))
}

function samplesOf(labels: Readonly<Record<string, string>>, { count, ms }: Times): Sample[] {
  return [
    { suffix: '_count', labels, value: count },
    { suffix: '_sum', labels, value: ms / 1_000 }
  ]
}
