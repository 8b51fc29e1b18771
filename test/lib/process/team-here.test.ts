import t from 'tap'
import { createTeamHere } from '../../../lib/process/team-here.js'

t.test('a process that nobody has started as a worker is alone', t => {
  const { worker, workers, heir } = createTeamHere()
  t.same({ worker, workers, heir }, { worker: 0, workers: 1, heir: undefined })
  t.end()
})

t.test('a worker knows its place from its start, and how many there are now from its master', t => {
  const team = createTeamHere({ worker: 2, workers: 4, master: 9 }, () => true)
  t.match(team, { worker: 2, workers: 4, heir: undefined })
  team.hear({ workers: 3, heir: 100, pids: [100, 101, 102] })
  t.match(team, { worker: 2, workers: 3, heir: 100 })
  t.end()
})

t.test('left behind are the siblings of the heir that are yet what they were', t => {
  const asked: number[][] = []
  const isSibling = (pid: number, master: number) => {
    asked.push([pid, master])
    return pid !== 102
  }
  const team = createTeamHere({ master: 9 }, isSibling, 100)
  t.same(team.orphans(), [])
  team.hear({ workers: 4, heir: 100, pids: [100, 101, 102, 103] })
  t.same(team.orphans(), [101, 103])
  t.same(
    asked,
    [101, 102, 103].map(pid => [pid, 9])
  )
  t.end()
})
