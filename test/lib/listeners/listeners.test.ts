import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { watchListeners } from '../../../lib/listeners/listeners.js'
import { temporaryFolder } from '../../helper/folder.ts'

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

t.test('a listener is known by what was asked for and by where it is bound', async t => {
  const server = http.createServer()
  t.teardown(() => server.close())
  const options = { port: 0, host: '127.0.0.1' }
  const heard = once(listeners, 'listening')
  server.listen(options)
  const [listener] = await heard
  const { port } = server.address() as AddressInfo
  const address = { key: 'tcp:127.0.0.1:0#1', bound: `127.0.0.1:${port}` }
  t.match(listener, { ...address, server })
  t.same(listeners.addressOf(server), address)
  t.same(listeners.open(), [{ ...address, fd: listeners.handle(listener)?.fd }])
  t.same(options, { port: 0, host: '127.0.0.1' })
})

t.test('a Unix socket is named as it was asked for, and its file is removed when it stops', async t => {
  const path = `${temporaryFolder(t)}/app.sock`
  const server = http.createServer()
  const heard = once(listeners, 'listening')
  server.listen(path)
  t.match((await heard)[0], { key: `unix:${path}`, bound: path })
  t.equal(server.address(), path)
  t.ok(existsSync(path))
  server.close()
  t.notOk(existsSync(path))
})

t.test('while a next generation boots the file stays, until it is known whose it is', async t => {
  const path = `${temporaryFolder(t)}/app.sock`
  const server = http.createServer()
  const heard = once(listeners, 'listening')
  server.listen(path)
  await heard
  listeners.upgrading(true)
  t.ok(listeners.isUpgrading())
  server.close()
  t.ok(existsSync(path))
  listeners.upgrading(false)
  t.notOk(listeners.isUpgrading())
  t.notOk(existsSync(path), 'as nobody else has it')
})

t.test('a socket that cannot be moved into place is an error of its server, which closes', async t => {
  const folder = temporaryFolder(t)
  const server = http.createServer()
  let isHeard = false
  listeners.on('listening', listener => void (isHeard ||= listener.server === server))
  const [failed, closed] = [once(server, 'error'), new Promise(resolve => server.once('close', resolve))]
  server.listen(`${folder}/app.sock`)
  rmSync(folder, { recursive: true })
  t.match((await failed)[0], { code: 'ENOENT' })
  await closed
  t.notOk(isHeard)
})
