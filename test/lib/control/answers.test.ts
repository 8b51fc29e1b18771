import { EventEmitter } from 'node:events'
import t from 'tap'
import { answer } from '../../../lib/control/answers.js'
import type { Progress } from '../../../lib/control/messages.js'
import { followStatus } from '../../../lib/control/status.js'
import type { MasterEvents } from '../../../lib/master/events.js'
import type { Master } from '../../../lib/master/master.js'
import { createRoster } from '../../../lib/master/roster.js'
import type { Inquire } from '../../../lib/protocol/inquire.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playGeneration } from '../../helper/generation.ts'

const counts = { idle: 2 } as never

const probation = {
  left: 20_000,
  candidate: { responses: 10, errors: 1 },
  current: { responses: 90, errors: 0 }
}

/** A master that the test plays. */
function setUp() {
  const calls: string[] = []
  const events = new EventEmitter<MasterEvents>()
  const roster = createRoster()
  const closed = createDeferred<number>()
  const master = {
    events,
    state: 'upgrading',
    serving: roster.serving,
    generations: roster.list,
    workers: 3,
    balance: () => ({ moved: 4, closed: 1 }),
    probation: () => ({ generation: 3, ...probation }),
    async judge(...words: string[]) {
      calls.push(words.join(': '))
    },
    async scale(workers: number, onProgress: (workers: number) => void) {
      calls.push(`scale ${workers}`)
      onProgress(workers)
      return workers
    },
    close(signal: null) {
      calls.push(`close ${signal}`)
      return closed.promise
    }
  } as unknown as Master
  const stop = () => void calls.push('stop')
  const status = followStatus({ master, mode: 'standalone', directory: '/srv/app' })
  const inquire: Inquire = async about => (about === 'status' ? status() : 'metrics')
  const answers = answer({ master, inquire, stop })
  return { answers, events, roster, calls, closed }
}

t.test('status tells of each generation what it does, and of the one that serves its listeners', async t => {
  const { answers, roster, events } = setUp()
  const [one, two] = [playGeneration(1), playGeneration(2, { pid: 0 })]
  one.connections = async () => counts
  roster.serves(one)
  roster.boots(two)
  events.emit('ready', { generation: 1, pid: 101, ms: 5 })
  t.match(await answers.status(), {
    pid: process.pid,
    mode: 'standalone',
    directory: '/srv/app',
    state: 'upgrading',
    generations: [
      { generation: 1, pid: 101, state: 'serving', ms: Number, connections: counts },
      { generation: 2, pid: null, state: 'booting', ms: Number, connections: null }
    ],
    listeners: [{ key: 'tcp::1', bound: '0.0.0.0:1' }],
    balance: { moved: 4, closed: 1 },
    probation: { generation: 3, ...probation },
    upgrades: [{ generation: 1, result: 'ready' }]
  })
  roster.gone(one)
  t.same((await answers.status()).listeners, [], 'where nobody serves there are none')
})

t.test('status tells of each worker what it does, and what it uses', async t => {
  const { answers, roster } = setUp()
  const team = playGeneration(1)
  const worker = {
    worker: 0,
    pid: 101,
    state: 'serving',
    restarts: 0,
    load: async () => null,
    heldUpBy: async () => []
  } as const
  team.processes = () => [
    {
      ...worker,
      connections: async () => counts,
      load: async () => ({ cpu: 0.123_456, elu: 0.987_654, rss: 5 })
    },
    { ...worker, worker: 1, pid: 103, restarts: 2, connections: async () => null }
  ]
  roster.serves(team)
  const { generations } = await answers.status()
  t.same(generations[0]!.workers, [
    {
      worker: 0,
      pid: 101,
      state: 'serving',
      restarts: 0,
      connections: counts,
      cpu: 0.123,
      rss: 5,
      elu: 0.988
    },
    { worker: 1, pid: 103, state: 'serving', restarts: 2, connections: null, cpu: null, rss: null, elu: null }
  ])
})

t.test('stop is over when all has ended, which was told to end before this process', async t => {
  const { answers, calls, closed } = setUp()
  let over = false
  const stopped = answers.stop().then(() => {
    over = true
  })
  t.same(calls, ['close null', 'stop'])
  await Promise.resolve()
  t.notOk(over)
  closed.resolve(0)
  await stopped
})

t.test('a number of workers with a sign is so many more, or less', async t => {
  const { answers, calls } = setUp()
  const told: Progress[] = []
  for (const [count, workers] of [
    ['6', 6],
    ['+2', 5],
    ['-1', 2],
    ['-5', -2]
  ] as const)
    t.equal(await answers.scale(count, progress => told.push(progress)), workers)
  t.same(
    calls,
    ['scale 6', 'scale 5', 'scale 2', 'scale -2'],
    'what there can not be is refused by the master'
  )
  t.same(told[0], { stage: 'scaling', workers: 6 })
})

t.test('whoever ends a probation is named as the reason', async t => {
  const { answers, calls } = setUp()
  await answers.confirm()
  await answers.rollback()
  t.same(calls, [
    'confirm: asked for by graceful-upgrade confirm',
    'rollback: asked for by graceful-upgrade rollback'
  ])
})
