import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { defaultOptions } from '../../../lib/options.js'
import { createStandaloneRole } from '../../../lib/process/standalone.js'
import { createTeamHere } from '../../../lib/process/team-here.js'
import { createOwnListeners } from '../../../lib/signals/own-listeners.js'
import { playHost } from '../../helper/play/host.ts'
import { playApplication, playBeside, playInstance, playListeners } from '../../helper/play/process.ts'

/** @param orphans what a lost master has left behind */
function play(isHeir = false, orphans = new Set<number>()) {
  const host = playHost()
  const { application, instances, lines, ended } = playApplication({ controlSocket: false })
  const { listeners, calls: heard } = playListeners()
  const team = createTeamHere(
    { master: 9 },
    { pid: host.pid, isSibling: pid => orphans.has(pid), isGone: () => false }
  )
  team.hear({ workers: 1 + orphans.size, heir: host.pid, pids: [host.pid, ...orphans] })
  listeners.share(orphans.size > 0)
  const role = createStandaloneRole(
    {
      team,
      servesAlone() {},
      generation: 1,
      application,
      listeners,
      own: createOwnListeners(host),
      beside: playBeside([]),
      context: { command: 'no-such-program', args: [], directory: '/', environment: {} },
      standardError: { fd: 2, write() {}, replace() {} }
    },
    { host, isHeir }
  )
  return { host, instances, lines, role, heard, ended }
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

t.test('what a lost master has left behind ends with the heir, which removes the files then', async t => {
  const orphans = new Set([101, 102])
  const { host, role, heard, ended } = play(true, orphans)
  role.installSignals()
  t.same(host.asked, [])
  host.emit('SIGTERM', 'SIGTERM')
  t.same(host.asked, ['kill 101 SIGTERM', 'kill 102 SIGTERM'])
  t.same(heard, ['share', 'share no more'])
  ended.resolve(0)
  await turn()
  t.equal(host.asked.length, 2, 'it waits for them')
  orphans.clear()
  t.equal(await host.exited, 0)
})

t.test('an uncaught error ends the heir alone, and the files are for those that serve on', async t => {
  const { host, role, heard, ended } = play(true, new Set([101]))
  role.installSignals()
  host.emit('uncaughtException', new Error('on purpose'))
  ended.resolve(0)
  t.equal(await host.exited, 1)
  t.same(host.asked, ['exit 1'])
  t.same(heard, ['share'])
})

t.test('the second signal ends them at once', t => {
  const { host, role } = play(true, new Set([101]))
  role.installSignals()
  host.emit('SIGTERM', 'SIGTERM')
  host.emit('SIGINT', 'SIGINT')
  t.same(host.asked, ['kill 101 SIGTERM', 'kill 101 SIGKILL', 'exit 1'])
  t.end()
})
