import path from 'node:path'
import t from 'tap'
import { boundAddress, keyOf, type ListenOptions, leadsTo } from '../../../lib/listeners/listener-key.js'

function key(options: ListenOptions, ...taken: string[]): string | undefined {
  return keyOf(options, new Set(taken))
}

t.test('a listener is named by what was asked for', async t => {
  t.equal(key({ port: 3000, host: 'LocalHost' }), 'tcp:localhost:3000')
  t.equal(key({ port: '3000' }), 'tcp::3000')
  t.equal(key({ port: 3000, path: 'app.sock' }), 'tcp::3000', 'a port comes before a path')
  t.equal(key({ port: undefined as unknown as null, path: 'app.sock' }), 'tcp::0#1', 'even if there is none')
  t.equal(key({ path: 'app.sock' }), `unix:${path.resolve('app.sock')}`)
  t.equal(key({ path: '\0app' }), 'unix:\0app', 'an abstract socket is in no folder')
  t.equal(key({ fd: 3, port: 3000 }), 'fd:3')
  t.equal(key({}), 'tcp::0#1', 'listen() without anything')
})

t.test('what nobody can ask for again has no name', async t => {
  t.equal(key({ handle: {} }), undefined)
  t.equal(key({ _handle: {}, port: 3000 }), undefined)
  t.equal(key({ host: 'localhost' }), undefined)
})

t.test('several on a free port, or on one port, are counted', async t => {
  t.equal(key({ port: 0, host: 'a' }, 'tcp:a:0#1', 'tcp:b:0#2'), 'tcp:a:0#2')
  t.equal(key({ port: 0, host: 'a' }, 'tcp:a:0#2'), 'tcp:a:0#1', 'a place that is free again is taken')
  t.equal(key({ port: 1, host: 'a' }, 'tcp:a:1'), 'tcp:a:1#2')
  t.equal(key({ port: 1, host: 'a' }, 'tcp:a:1', 'tcp:a:1#2'), 'tcp:a:1#3')
})

t.test('a name leads to an address that it would be bound to, and to no other', async t => {
  const leading: [string, string][] = [
    ['tcp:localhost:3000', '127.0.0.1:3000'],
    ['tcp:localhost:3000', '[::1]:3000'],
    ['tcp::3000', '[::]:3000'],
    ['tcp::3000', '0.0.0.0:3000'],
    ['tcp:::1:3000#2', '[::1]:3000'],
    ['tcp:127.0.0.1:3000', '127.0.0.1:3000'],
    ['unix:/run/app.sock', '/run/app.sock']
  ]
  for (const [key, bound] of leading) t.ok(leadsTo(key, bound), `${key} ${bound}`)
  const astray: [string, string][] = [
    ['tcp:localhost:3000', '127.0.0.1:3001'],
    ['tcp:127.0.0.1:3000', '[::1]:3000'],
    ['tcp::0#1', '[::]:0'],
    ['fd:3', '127.0.0.1:3'],
    ['unix:/run/app.sock', '/run/other.sock']
  ]
  for (const [key, bound] of astray) t.notOk(leadsTo(key, bound), `${key} ${bound}`)
})

t.test('an address is written as in a URL', async t => {
  const bound = (address: unknown) =>
    boundAddress({ address: () => address } as Parameters<typeof boundAddress>[0])
  t.equal(bound({ address: '127.0.0.1', port: 1 }), '127.0.0.1:1')
  t.equal(bound({ address: '::1', port: 1 }), '[::1]:1')
  t.equal(bound('/run/app.sock'), '/run/app.sock')
  t.equal(bound(null), 'nowhere')
})
