import { once } from 'node:events'
import net, { type Server } from 'node:net'
import t from 'tap'
import { watchListeners } from '../../../lib/listeners/listeners.js'
import { hide, isHidden } from '../../../lib/listeners/own-servers.js'

t.test('a server that is hidden before it listens is no listener', async t => {
  const listeners = watchListeners([])
  const heard: Server[] = []
  listeners.on('listening', ({ server }) => heard.push(server))
  const [hidden, other] = [net.createServer(), net.createServer()]
  hide(hidden)
  t.ok(isHidden(hidden))
  t.notOk(isHidden(other))
  for (const server of [hidden, other]) {
    t.teardown(() => server.close())
    await once(server.listen(0, '127.0.0.1'), 'listening')
  }
  t.same(heard.length, 1)
  t.equal(heard[0], other)
  t.equal(listeners.live().length, 1)
  t.equal(listeners.addressOf(hidden), undefined)
})
