import { layOut, type Row } from '../client/table.js'
import { totalFate } from '../drain/report.js'
import { printable } from '../printable.js'
import { count, megabytes, milliseconds, plural } from './format.js'
import type { Latencies } from './latencies.js'
import { nounOf } from './live-view.js'
import type { Mode } from './plan.js'
import type { ChangeReport, Report, RunReport } from './report.js'
import { sparkline } from './sparkline.js'

/** The verdict first, and then what it rests on. @param width of the terminal */
export function summaryOf({ passed, runs }: Report, width: number): string {
  const [own, ...others] = runs
  if (own === undefined) return ''
  const parts = [
    wrap(`${passed ? 'PASSED' : 'FAILED'}: ${headline(own)}`, width),
    findings(own, width),
    layOut(changeRows(own), width),
    layOut(latencyRows(own), width),
    picture(own, width),
    stays(own),
    others.length > 0 ? layOut(comparison(runs), width) : '',
    ...others.map(run => wrap(`${titles[run.mode]}: ${headline(run)}`, width))
  ]
  return printable(
    `${parts
      .filter(part => part !== '')
      .map(part => part.trimEnd())
      .join('\n\n')}\n`
  )
}

/** `0 of 12,431 requests failed, 0 of 50 clients had to reconnect${lost}, over 6 upgrades.` */
export function headline(run: RunReport): string {
  const { requests, failures, losses, reconnected, clients, changes, mode } = run
  const lost = losses === 0 ? '' : `, ${plural(losses, 'WebSocket or stream', 'WebSockets or streams')} lost`
  const failed = changes.filter(({ failure }) => failure !== undefined).length
  const bad = failed === 0 ? '' : ` (${failed} failed)`
  const end = run.interrupted ? ', until it was interrupted' : ''
  return `${count(failures)} of ${plural(requests, 'request')} failed, ${count(reconnected)} of ${plural(clients, 'client')} had to reconnect${lost}, over ${plural(changes.length, nounOf(mode))}${bad}${end}.`
}

function findings({ findings }: RunReport, width: number): string {
  return findings.map(({ level, text }) => wrap(`${level === 'note' ? '•' : '✗'} ${text}`, width)).join('\n')
}

/** Between words; what does not begin a text is moved in. */
function wrap(text: string, width: number): string {
  let line = ''
  const lines: string[] = []
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = ` `
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join('\n')
}

function changeRows({ changes, mode }: RunReport): Row[] {
  const hasKept = changes.some(({ report }) => report && totalFate(report).kept)
  const title = [
    'BOOT',
    'DRAIN',
    'MOVED',
    ...(hasKept ? ['KEPT'] : []),
    'TOLD',
    'CUT',
    'FAILED',
    'RECONNECTS',
    'LONGEST',
    'MEMORY'
  ]
  return [[nounOf(mode).toUpperCase(), ...title], ...changes.map(change => changeRow(change, hasKept))]
}

function changeRow(change: ChangeReport, hasKept: unknown): Row {
  const { number, boot, drain, report, failure, latencies, memory } = change
  const fate = report ? totalFate(report) : undefined
  const told = (name: 'moved' | 'kept' | 'told' | 'cut') => fate?.[name] ?? (fate ? 0 : '-')
  return [
    number,
    boot === undefined ? (failure ? 'failed' : '-') : milliseconds(boot),
    drain === undefined ? '-' : milliseconds(drain),
    told('moved'),
    ...(hasKept ? [told('kept')] : []),
    told('told'),
    told('cut'),
    count(change.failures),
    count(change.reconnects),
    latencies === undefined ? '-' : milliseconds(latencies.longest),
    sizes(memory)
  ]
}

/** @returns `61 → 58 MB`, of the old version and the new one */
function sizes({ old, next }: ChangeReport['memory'] = {}): string {
  if (next === undefined) return '-'
  return old === undefined ? megabytes(next) : `${megabytes(old).replace(' MB', '')} → ${megabytes(next)}`
}

function latencyRows({ around, calm, mode }: RunReport): Row[] {
  return [
    ['LATENCY', 'ANSWERS', 'P50', 'P99', 'P99.9', 'LONGEST'],
    [`around ${nounOf(mode)}s`, ...latencyCells(around)],
    ['in calm', ...latencyCells(calm)]
  ]
}

function latencyCells(latencies: Latencies | undefined): string[] {
  if (latencies === undefined) return ['0', '-', '-', '-', '-']
  const { answers, p50, p99, p999, longest } = latencies
  return [count(answers), ...[p50, p99, p999, longest].map(milliseconds)]
}

/** The longest answer of each moment. */
function picture({ timeline, changes, mode }: RunReport, width: number): string {
  const { longest, failures, step } = timeline
  const marks = changes.map(({ at }) => Math.floor(at / step))
  const lines = sparkline(longest, failures, marks, Math.min(width - 1, 100))
  const most = Math.max(...longest.map(ms => ms ?? 0))
  const legend = `longest answer, up to ${milliseconds(most)}; ▲ ${nounOf(mode)}${failures.some(count => count > 0) ? '; × failures' : ''}`
  return [...lines, legend].join('\n')
}

function stays({ stays }: RunReport): string {
  return stays
    .map(({ name, clients, opened, closed, received, missed }) => {
      const ends = Object.entries(closed).map(([end, times]) => `${times} × ${end}`)
      const events = name.startsWith('events') ? `, ${count(missed)} missed` : ''
      return `${name}: ${clients} open, opened ${plural(opened, 'time')}, closed ${ends.join(', ') || 'never'}, ${count(received)} received${events}`
    })
    .join('\n')
}

const titles: Readonly<Record<Mode, string>> = {
  upgrade: 'upgrade',
  restart: 'restart',
  close: 'close and restart'
}

function comparison(runs: readonly RunReport[]): Row[] {
  return [
    ['COMPARED', 'REQUESTS', 'FAILED', 'PER CHANGE', 'RECONNECTS', 'P99', 'P99.9', 'LONGEST'],
    ...runs.map(({ mode, requests, failures, changes, reconnects, around }) => [
      titles[mode],
      count(requests),
      count(failures),
      (failures / Math.max(changes.length, 1)).toFixed(1),
      count(reconnects),
      ...latencyCells(around).slice(2)
    ])
  ]
}
