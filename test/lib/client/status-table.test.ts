import t from 'tap'
import { statusTable } from '../../../lib/client/status-table.js'
import { now, probation, report, status, table, team, workerTable } from '../../helper/control-examples.ts'

t.test('a status is a table, whose columns are aligned', async t => {
  t.equal(statusTable(status, now), table)
})

t.test('what there is none of has no table', async t => {
  const lines = statusTable({ ...status, listeners: [], upgrades: [], generations: [] }, now)
  t.notMatch(lines, /LISTENER|UPGRADE/)
  t.match(lines, /GENERATION/)
})

t.test('who had no process is named without one', async t => {
  const failed = { ...status.upgrades[1]!, pid: null }
  t.match(statusTable({ ...status, upgrades: [failed] }, now), /^1 {8}- {4}2 h/m)
})

t.test('several workers have a table of their own, with a sum', async t => {
  const lines = statusTable(team, now)
  t.ok(lines.includes(`\n\n${workerTable}\n`), lines)
  t.match(lines, /^balance {4}1234 connections moved, 5 told to come again$/m)
  t.match(lines, /^GENERATION {2}PID .* DETACHED$/m)
  for (const width of [120, 80]) {
    const [, , table = ''] = statusTable(team, now, width).split('\n\n')
    const widest = Math.max(...table.split('\n').map(line => line.length))
    t.ok(widest <= width, `${widest} of ${width}`)
  }
  t.match(
    statusTable(team, now, 80),
    /^WORKER PID {2}GEN STATE {4}IDLE ACTIVE FRESH DETACHED CPU {2}RSS {4}ELU RESTARTS$/m
  )
})

t.test('what one worker uses stands beside its generation', async t => {
  const [, old] = team.generations
  const one = { ...old!, workers: old!.workers!.slice(1) }
  const rows = statusTable({
    ...status,
    balance: { moved: 0, closed: 0 },
    generations: [one, { ...one, workers: [] }]
  })
  t.match(rows, /^GENERATION {2}PID .* FRESH {2}DETACHED {2}CPU {2}RSS {4}ELU$/m)
  t.match(rows, / \? {9}0% {3}80 MB {2}0%\n2 .* \? {9}\? {4}\? {6}\?$/m)
  t.notMatch(rows, /WORKER|balance/)
})

t.test('a probation is told with what is left of it, and what both have answered', async t => {
  const [first] = statusTable(
    { ...status, state: 'probation', probation: probation(19_500, 12, 1) },
    now
  ).split('\n\n')
  t.match(
    first,
    /^probation {2}generation 3, 19\.5 s left\n5xx {8}1 of 12 by generation 3, 0 of 120 by the old one$/m
  )
  const over = statusTable({ ...status, probation: probation(0, 12) }, now)
  t.match(over, /^probation {2}generation 3, its time is over$/m)
  t.notMatch(statusTable({ ...status, probation: undefined }, now), /probation|5xx/)
})

t.test('what a generation waits for on its way out has a table, and what was cut its name', async t => {
  const heldUpBy = [
    { kind: 'request', method: 'GET', url: '/slow', id: 'request-7', ms: 12_300 },
    { kind: 'other', ms: 500 }
  ] as const
  const [first] = status.generations
  const drains = { ...first!, generation: 1, state: 'draining', heldUpBy } as const
  const cut = { ...status.upgrades[0]!, report: { ...report, cutOff: heldUpBy } }
  const rows = statusTable({ ...status, generations: [first!, drains], upgrades: [cut] }, now)
  t.match(
    rows,
    /\n\nHELD UP BY +GENERATION +FOR +REQUEST ID\nGET \/slow +1 +12\.3 s +request-7\nanother connection +1 +0\.5 s +-\n\n/
  )
  t.match(rows, /ready, cut GET \/slow, another connection$/m)
})
