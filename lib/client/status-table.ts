import type { ConnectionCounts } from '../connections/state.js'
import type { GenerationStatus, Status, UpgradeRecord } from '../control/messages.js'
import { describeHoldUp, namesOf } from '../drain/hold-up.js'
import { totalFate, ways } from '../drain/report.js'
import { duration } from './duration.js'
import { describeErrors, states, timeLeft } from './progress-view.js'
import { layOut, type Row } from './table.js'
import { hasSeveral, loadOf, loadTitles, workerRows } from './worker-rows.js'

/**
 * @param now milliseconds since 1970
 * @param width of the terminal, if it is one
 */
export function statusTable(status: Status, now = Date.now(), width?: number): string {
  const { generations, listeners, upgrades } = status
  const tables = [
    layOut(Object.entries(about(status))),
    layOut(generationRows(generations), width),
    ...(hasSeveral(generations) ? [layOut(workerRows(generations), width)] : []),
    ...(generations.some(({ heldUpBy }) => heldUpBy?.length) ? [layOut(holdUpRows(generations), width)] : []),
    ...(listeners.length > 0 ? [layOut(listenerRows(listeners))] : []),
    ...(upgrades.length > 0 ? [layOut(upgradeRows(upgrades, now))] : [])
  ]
  return tables.join('\n')
}

function about(status: Status): object {
  const { pid, mode, state, uptime, directory, pluginVersion, generations, balance, probation } = status
  const plugin = pluginVersion ?? '?'
  const said = probation && {
    probation: `generation ${probation.generation}, ${timeLeft(probation)}`,
    '5xx': describeErrors(probation)
  }
  const shown = { pid, mode, state, uptime: duration(uptime), directory, plugin, ...said }
  if (!balance || !hasSeveral(generations)) return shown
  return { ...shown, balance: `${balance.moved} connections moved, ${balance.closed} told to come again` }
}

/** The load where each has one worker. */
function generationRows(generations: Status['generations']): Row[] {
  const showsLoad = !hasSeveral(generations) && generations.some(({ workers }) => workers?.length)
  const load = ({ workers }: GenerationStatus) => loadOf(workers ?? [])
  return [
    ['GENERATION', 'PID', 'STATE', 'FOR', ...titles, ...(showsLoad ? loadTitles : [])],
    ...generations.map(each => [
      ...[each.generation, each.pid || '-', each.state, duration(each.ms)],
      ...countsOf(each.connections),
      ...(showsLoad ? load(each) : [])
    ])
  ]
}

const titles = states.map(name => name.toUpperCase())

function countsOf(connections: ConnectionCounts | null): Row {
  return states.map(name => connections?.[name] ?? '?')
}

/** The requests, and other connections, that generations wait for on their way out. */
function holdUpRows(generations: Status['generations']): Row[] {
  return [
    ['HELD UP BY', 'GENERATION', 'FOR', 'REQUEST ID'],
    ...generations.flatMap(({ generation, heldUpBy }) =>
      (heldUpBy ?? []).map(each => [describeHoldUp(each), generation, duration(each.ms), each.id ?? '-'])
    )
  ]
}

function listenerRows(listeners: Status['listeners']): Row[] {
  return [['LISTENER', 'BOUND'], ...listeners.map(({ key, bound }) => [key, bound])]
}

function upgradeRows(upgrades: readonly UpgradeRecord[], now: number): Row[] {
  return [
    ['UPGRADE', 'PID', 'AGE', 'TOOK', ...ways.map(name => name.toUpperCase()), 'RESULT'],
    ...upgrades.map(({ generation, pid, at, ms, result, message, report }) => [
      ...[generation, pid || '-', duration(now - at), duration(ms)],
      ...ways.map(way => (report ? (totalFate(report)[way] ?? 0) : '-')),
      `${message ? `${result}: ${message}` : result}${report?.cutOff ? `, cut ${namesOf(report.cutOff)}` : ''}`
    ])
  ]
}
