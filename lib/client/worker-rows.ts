import type { GenerationStatus, WorkerStatus } from '../control/messages.js'
import { states } from './progress-view.js'
import type { Row } from './table.js'

type Generations = readonly GenerationStatus[]

/** Of which a table of its own is worth it. */
export function hasSeveral(generations: Generations): boolean {
  return generations.some(({ workers }) => (workers?.length ?? 0) > 1)
}

export const loadTitles = ['CPU', 'RSS', 'ELU']

/** One row for each worker, and the sum of them. */
export function workerRows(generations: Generations): Row[] {
  const all = generations.flatMap(({ workers }) => workers ?? [])
  const title = ['WORKER', 'PID', 'GENERATION', 'STATE', ...states.map(name => name.toUpperCase())]
  return [
    [...title, ...loadTitles, 'RESTARTS'],
    ...generations.flatMap(({ generation, workers }) =>
      (workers ?? []).map(worker => [
        ...[worker.worker, worker.pid, generation, worker.state],
        ...numbersOf([worker])
      ])
    ),
    ['total', '', '', '', ...numbersOf(all)]
  ]
}

function numbersOf(workers: readonly WorkerStatus[]): Row {
  return [
    ...states.map(name => sum(workers.map(({ connections }) => connections?.[name])) ?? '?'),
    ...loadOf(workers),
    sum(workers.map(({ restarts }) => restarts)) ?? '?'
  ]
}

/** CPU time as percents of one core, memory, and the event loop's utilisation: of several the mean. */
export function loadOf(workers: readonly WorkerStatus[]): Row {
  const cpu = sum(workers.map(({ cpu }) => cpu))
  const rss = sum(workers.map(({ rss }) => rss))
  const elu = sum(workers.map(({ elu }) => elu))
  return [
    cpu === undefined ? '?' : percents(cpu),
    rss === undefined ? '?' : `${Math.round(rss / 2 ** 20)} MB`,
    elu === undefined ? '?' : percents(elu / workers.filter(({ elu }) => elu !== null).length)
  ]
}

/** Of those that have said it; undefined if none has. */
function sum(values: readonly (number | null | undefined)[]): number | undefined {
  const known = values.filter(value => typeof value === 'number')
  return known.length === 0 ? undefined : known.reduce((total, value) => total + value, 0)
}

function percents(share: number): string {
  return `${Math.round(share * 100)}%`
}
