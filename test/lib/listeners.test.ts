import { once } from 'node:events'
import http from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { watchListeners } from '../../lib/listeners.js'

const listeners = watchListeners([])

/** As some wrap it, to close something else first. */
function slowToClose(): http.Server {
  return Object.assign(http.createServer(), {
    async close(this: http.Server, callback?: () => void) {
      await turn()
      http.Server.prototype.close.call(this, callback)
      return 'closing'
    }
  })
}

const kinds: Record<string, { create(): http.Server; close(server: http.Server): unknown }> = {
  'close()': { create: () => http.createServer(), close: server => server.close() },
  'an asynchronous close() of its own': { create: slowToClose, close: server => server.close() },
  "a close() that isn't the server's": {
    create: () => http.createServer(),
    close: server => http.Server.prototype.close.call(server)
  }
}

for (const [kind, { create, close }] of Object.entries(kinds)) {
  t.test(`a server that is closed by ${kind} has stopped, once for each time that it listened`, async t => {
    const server = create()
    const stopped: unknown[] = []
    listeners.on('stopped', listener => void (listener.server === server && stopped.push(listener.key)))
    for (const times of [1, 2]) {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      t.equal(stopped.length, times - 1)
      const closed = once(server, 'close')
      close(server)
      await closed
      await turn()
      t.equal(stopped.length, times)
      t.same(listeners.live(), [])
    }
  })
}

t.test('close() returns what it did before', async t => {
  const plain = http.createServer()
  const slow = slowToClose()
  for (const server of [plain, slow]) await once(server.listen(0, '127.0.0.1'), 'listening')
  t.equal(plain.close(), plain)
  t.equal((await slow.close()) as unknown, 'closing')
})
