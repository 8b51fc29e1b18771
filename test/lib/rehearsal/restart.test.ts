import t from 'tap'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { beginRestart } from '../../../lib/rehearsal/restart.js'
import type { Server } from '../../../lib/rehearsal/server.js'

/** What became of a server, in its order. */
function play() {
  const told: string[] = []
  const server = {
    stop: async (limit: number) => void told.push(`stop within ${limit}`),
    kill: async () => void told.push('kill')
  } as unknown as Server
  return { server, told, start: async () => void told.push('start') }
}

t.test('the next one starts when the old one has ended, at once or by itself', async t => {
  for (const [isGraceful, first] of [
    [true, 'stop within 30000'],
    [false, 'kill']
  ] as const) {
    const { server, told, start } = play()
    const { ready, over } = beginRestart(server, isGraceful, start)
    const outcome = await ready
    t.same(told, [first, 'start'])
    t.ok(outcome.boot! >= outcome.drain!, 'the outage begins with the end of the old one')
    t.equal(await over, outcome)
  }
})

t.test('one that does not start is told of, and no defect of the rehearsal', async t => {
  const { server } = play()
  const fail = (error: Error) => beginRestart(server, false, () => Promise.reject(error)).ready
  const { failure, boot } = await fail(
    new GracefulUpgradeError('GRACEFUL_UPGRADE_REHEARSAL', 'the port is taken', { lastWords: 'EADDRINUSE' })
  )
  t.match(failure, {
    code: 'GRACEFUL_UPGRADE_REHEARSAL',
    message: /the port is taken/,
    lastWords: 'EADDRINUSE'
  })
  t.equal(boot, undefined)
  await t.rejects(fail(new TypeError('a defect')), TypeError)
})
