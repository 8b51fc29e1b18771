import { once } from 'node:events'
import http from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { watchListeners } from '../../lib/listeners.js'

const listeners = watchListeners([])
const kinds: Record<string, () => http.Server> = {
  'close()': () => http.createServer(),
  'a close() of its own, which is asynchronous': () =>
    Object.assign(http.createServer(), {
      async close(this: http.Server, callback?: () => void) {
        await turn()
        http.Server.prototype.close.call(this, callback)
      }
    }),
  "a close() that isn't the server's": () => http.createServer()
}

for (const [kind, create] of Object.entries(kinds)) {
  t.test(`a server that is closed by ${kind} has stopped, once for each time that it listened`, async t => {
    const server = create()
    const stopped: unknown[] = []
    listeners.on('stopped', listener => void (listener.server === server && stopped.push(listener.key)))
    for (const times of [1, 2]) {
      await once(server.listen(0, '127.0.0.1'), 'listening')
      t.equal(stopped.length, times - 1)
      const closed = once(server, 'close')
      if (kind.startsWith('a close() that')) http.Server.prototype.close.call(server)
      else void server.close()
      await closed
      await turn()
      t.equal(stopped.length, times)
      t.same(listeners.live(), [])
    }
  })
}
