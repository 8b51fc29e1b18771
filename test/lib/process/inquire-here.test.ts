import t from 'tap'
import { inquireHere } from '../../../lib/process/inquire-here.js'
import { createTeamHere } from '../../../lib/process/team-here.js'
import { valuesOf } from '../../helper/metrics.ts'
import { playApplication, playInstance, playListeners } from '../../helper/play/process.ts'

function play() {
  const { application, instances } = playApplication()
  const { listeners, live } = playListeners()
  live.push({ key: 'tcp::3000', bound: '0.0.0.0:3000' } as never)
  const context = { command: 'node', args: [], directory: '/srv/app', environment: {} }
  const inquire = inquireHere({ generation: 3, team: createTeamHere(), application, listeners, context })
  return { application, instances, inquire }
}

t.test('a process without a master tells of itself', async t => {
  const { application, instances, inquire } = play()
  const connections = { fresh: 0, idle: 0, active: 0, detached: 0 }
  const generation = { generation: 3, pid: process.pid, state: 'booting', connections }
  t.match(await inquire('status'), {
    ...{ pid: process.pid, mode: 'standalone', directory: '/srv/app', state: 'starting', upgrades: [] },
    generations: [{ ...generation, workers: [{ worker: 0, rss: Number, restarts: 0 }] }],
    listeners: [{ key: 'tcp::3000', bound: '0.0.0.0:3000' }]
  })
  instances.add(playInstance('app', []).instance)
  t.match(await inquire('status'), { state: 'serving', generations: [{ state: 'serving' }] })
  application.ending = true
  t.match(await inquire('status'), { state: 'closing', generations: [{ state: 'draining' }] })
})

t.test('its metrics are of nothing that has happened', async t => {
  const values = valuesOf((await play().inquire('metrics')) as string)
  t.equal(values.get('generation'), 3)
  t.equal(values.get('generations{state="booting"}'), 1)
  t.equal(values.get('upgrades_total{result="success"}'), 0)
})
