import { EventEmitter } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Server } from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { OpenListener } from '../../../lib/listeners/address.js'
import { createAttempts } from '../../../lib/listeners/attempts.js'
import { createInherited } from '../../../lib/listeners/inherited.js'
import type { ListenOptions } from '../../../lib/listeners/listener-key.js'
import { temporaryFolder } from '../../helper/folder.ts'

function setUp(listeners: readonly OpenListener[] = []) {
  const adopted: number[] = []
  const inherited = createInherited(
    listeners,
    () => {},
    (_server, fd) => {
      adopted.push(fd)
      return () => 0
    }
  )
  const server = new EventEmitter() as Server
  return { attempts: createAttempts(inherited), server, adopted }
}

t.test('a port is left as it was asked for', async t => {
  const { attempts, server } = setUp()
  const options = { port: 3000 }
  attempts.begin(server, options, 'tcp::3000')
  t.same(options, { port: 3000 })
  t.same(attempts.keys(), ['tcp::3000'])
  t.match(attempts.end(server), { key: 'tcp::3000', unix: undefined })
  t.same(attempts.keys(), [])
  t.equal(attempts.end(server), undefined)
})

t.test('what is inherited is bound instead, until the options are put back', async t => {
  const listener = { key: 'tcp:localhost:3000', bound: '127.0.0.1:3000', fd: 7, isForeign: true } as const
  const { attempts, server, adopted } = setUp([listener])
  const options: ListenOptions = { port: 3000 }
  attempts.begin(server, options, 'tcp:127.0.0.1:3000')
  t.equal(options.fd, 7)
  t.same(adopted, [7])
  t.match(attempts.end(server), { key: 'tcp:127.0.0.1:3000', isForeign: true })
  t.notOk('fd' in options)
})

t.test('a Unix socket is bound out of sight', async t => {
  const { attempts, server } = setUp()
  const asked = path.join(temporaryFolder(t), 'app.sock')
  const options: ListenOptions = { path: asked }
  attempts.begin(server, options, `unix:${asked}`)
  const temporary = options.path
  t.not(temporary, asked)
  t.match(attempts.end(server), { unix: { asked, temporary } })
  t.equal(options.path, asked)
})

t.test('an inherited Unix socket is in place', async t => {
  const asked = path.join(temporaryFolder(t), 'app.sock')
  const { attempts, server } = setUp([{ key: `unix:${asked}`, bound: asked, fd: 7 }])
  const options: ListenOptions = { path: asked, fd: undefined as unknown as number }
  attempts.begin(server, options, `unix:${asked}`)
  t.same(options, { path: asked, fd: 7 })
  t.same(attempts.end(server)?.unix, { asked })
})

t.test('a path that bind() will refuse is left to it', async t => {
  const { attempts, server } = setUp()
  const asked = path.join(temporaryFolder(t), 'document')
  writeFileSync(asked, 'precious')
  const options = { path: asked }
  attempts.begin(server, options, `unix:${asked}`)
  t.same(options, { path: asked })
  t.equal(attempts.end(server), undefined)
})

t.test('a listen() that fails is over, and its options are the caller’s', async t => {
  const { attempts, server } = setUp([{ key: 'tcp::3000', bound: '[::]:3000', fd: 7 }])
  const options: ListenOptions = { port: 3000 }
  attempts.begin(server, options, 'tcp::3000')
  server.on('error', () => {})
  server.emit('error', new Error('EADDRINUSE'))
  t.same(options, { port: 3000 })
  t.same(attempts.keys(), [])
  t.equal(server.listenerCount('error'), 1)
})
