import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import type { Listeners } from '../../../lib/listeners/listeners.js'
import { defaultOptions } from '../../../lib/options.js'
import { createStandaloneRole } from '../../../lib/process/standalone.js'
import { createTeamHere } from '../../../lib/process/team-here.js'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { playHost } from '../../helper/play/host.ts'
import { playApplication, playBeside, playInstance, playListeners } from '../../helper/play/process.ts'

function play(isHeir = false) {
  const host = playHost()
  const { application, instances, lines } = playApplication({ controlSocket: false })
  const role = createStandaloneRole(
    {
      team: createTeamHere(),
      servesAlone() {},
      generation: 1,
      application,
      listeners: playListeners().listeners as Listeners,
      own: createOwnListeners(host),
      beside: playBeside([]),
      context: { command: 'no-such-program', args: [], directory: '/', environment: {} },
      standardError: { fd: 2, write() {}, replace() {} }
    },
    { host, isHeir }
  )
  return { host, instances, lines, role }
}

const refusal = { code: 'GRACEFUL_UPGRADE_NOT_SERVING' }

t.test('it is a master only while an instance listens', async t => {
  const { host, lines, role } = play()
  t.same(host.listening(), {})
  await t.rejects(role.upgrade(), refusal)
  t.same(lines, [], 'nobody has asked a master')
  t.match(await role.inquire('status'), { state: 'starting', generations: [{ state: 'booting' }] })
  role.installSignals()
  role.installSignals()
  t.equal(host.rawListeners('SIGTERM').length, 1)
  t.match(await role.inquire('status'), { state: 'serving', generations: [{ state: 'serving' }] })
  role.removeSignals()
  t.same(host.listening(), {})
  await t.rejects(role.upgrade(), refusal)
  role.installSignals()
  t.equal(host.rawListeners('SIGTERM').length, 1)
  role.removeSignals()
})

t.test('an application that closes itself is not upgraded, and that is logged', async t => {
  const { instances, lines, role } = play()
  instances.add(playInstance('app', [], { state: 'draining' }).instance)
  role.installSignals()
  await t.rejects(role.upgrade(), refusal)
  t.same(lines, ['warn: upgrade refused'])
  role.removeSignals()
})

t.test('a check that fails is logged, and ends nothing; an heir has passed it long ago', async t => {
  for (const isHeir of [false, true]) {
    const { instances, lines, role } = play(isHeir)
    const options = { ...defaultOptions, check: '/health' }
    const app = { inject: async () => ({ statusCode: 503, body: 'down' }) } as never
    instances.add(playInstance('app', [], { app, options }).instance)
    role.installSignals()
    await turn()
    t.same(lines, isHeir ? [] : ['error: check failed'])
    role.removeSignals()
  }
})
