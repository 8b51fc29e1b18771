import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t from 'tap'
import { createTeamHere } from '../../../lib/process/team-here.js'

t.test('a process that nobody has started as a worker is alone', t => {
  const team = createTeamHere()
  t.match(team, { worker: 0, workers: 1 })
  t.equal(team.heir(), undefined)
  t.end()
})

t.test('a worker knows its place from its start, and how many there are now from its master', t => {
  const team = createTeamHere({ worker: 2, workers: 4, master: 9 })
  t.match(team, { worker: 2, workers: 4 })
  team.hear({ workers: 3, heir: 100, pids: [100, 101, 102] })
  t.match(team, { worker: 2, workers: 3 })
  t.end()
})

t.test('left behind are the siblings of the heir that are yet what they were', t => {
  const asked: number[][] = []
  const isSibling = (pid: number, master: number) => {
    asked.push([pid, master])
    return pid !== 102
  }
  const team = createTeamHere({ master: 9 }, { pid: 100, isSibling, isGone: () => false })
  t.same(team.orphans(), [])
  team.hear({ workers: 4, heir: 100, pids: [100, 101, 102, 103] })
  t.same(team.orphans(), [101, 103])
  t.same(
    asked,
    [101, 102, 103].map(pid => [pid, 9])
  )
  t.end()
})

t.test('the heir is the first that is there yet, and for all of them the same one', t => {
  const gone = new Set<number>()
  const isGone = (pid: number, master: number) => master === 9 && gone.has(pid)
  const teams = [101, 102, 103].map(pid =>
    createTeamHere({ master: 9 }, { pid, isSibling: () => true, isGone })
  )
  const heirs = () => teams.map(team => team.heir())
  t.same(heirs(), [undefined, undefined, undefined], 'nobody has told them of each other')
  for (const team of teams) team.hear({ workers: 4, heir: 102, pids: [101, 102, 103] })
  t.same(heirs(), [102, undefined, 102])
  gone.add(102)
  t.same([heirs()[0], heirs()[2]], [undefined, 101])
  gone.add(101)
  t.equal(heirs()[2], undefined)
  t.end()
})

const needsProc = { skip: !existsSync('/proc/self/environ') && 'there is no /proc' }

t.test('a process that has ended, or is another one now, is not the heir', needsProc, async t => {
  const inheritance = { generation: 1, listeners: [], master: 9, standardError: 2, succeeds: 'none' }
  const start = async (env: NodeJS.ProcessEnv) => {
    const child = spawn('sleep', ['100'], { stdio: 'ignore', env: { PATH: process.env.PATH, ...env } })
    t.teardown(() => child.kill('SIGKILL'))
    await once(child, 'spawn')
    return child
  }
  const sibling = await start({ FASTIFY_GRACEFUL_UPGRADE: JSON.stringify(inheritance) })
  const other = await start({})
  const team = createTeamHere({ master: 9 })
  team.hear({ workers: 3, heir: other.pid!, pids: [other.pid!, sibling.pid!, process.pid] })
  t.equal(team.heir(), sibling.pid)
  sibling.kill('SIGKILL')
  await once(sibling, 'exit')
  t.equal(team.heir(), undefined)
})
