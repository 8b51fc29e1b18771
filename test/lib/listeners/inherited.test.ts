import { EventEmitter, once } from 'node:events'
import { chmodSync, closeSync, existsSync, openSync, renameSync } from 'node:fs'
import net, { type Server } from 'node:net'
import path from 'node:path'
import t from 'tap'
import type { OpenListener } from '../../../lib/listeners/address.js'
import { createInherited } from '../../../lib/listeners/inherited.js'
import { removeFileOf } from '../../../lib/listeners/unix-socket.js'
import { temporaryFolder } from '../../helper/folder.ts'

const tcp: OpenListener = { key: 'tcp:localhost:3000', bound: '127.0.0.1:3000', fd: 1_000_003 }
const other: OpenListener = { key: 'tcp::4000', bound: '[::]:4000', fd: 1_000_004 }

/** What was inherited, and Node.js as far as it takes part: which descriptors it took, and accepts on. */
function setUp({ listeners = [tcp, other], error = 0 } = {}) {
  const taken: number[] = []
  const accepting: number[] = []
  let claims = 0
  const inherited = createInherited(
    listeners,
    () => void claims++,
    (_server, fd) => {
      taken.push(fd)
      return () => {
        accepting.push(fd)
        return error
      }
    }
  )
  return { inherited, taken, accepting, claims: () => claims }
}

function server(): Server {
  return new EventEmitter() as Server
}

t.test('a listener is claimed by its name once, and never again', async t => {
  const { inherited, claims } = setUp()
  t.same(inherited.claim(tcp.key), tcp)
  t.equal(inherited.claim(tcp.key), undefined)
  t.same(inherited.unclaimed(), [other])
  t.equal(claims(), 1)
})

t.test('it is claimed by another name that leads there, and has that name then', async t => {
  const { inherited } = setUp()
  t.equal(inherited.claim('tcp:127.0.0.1:3001'), undefined)
  t.same(inherited.claim('tcp:127.0.0.1:3000'), { ...tcp, key: 'tcp:127.0.0.1:3000' })
  t.equal(inherited.claim(tcp.key), undefined, 'by both names it is one')
})

t.test('nothing is accepted before serve(), and then on all that were claimed, once each', async t => {
  const { inherited, taken, accepting } = setUp()
  for (const listener of [tcp, other]) inherited.accept(server(), listener)
  t.same(taken, [tcp.fd, other.fd])
  t.same(accepting, [])
  inherited.serve()
  inherited.serve()
  t.same(accepting, [tcp.fd, other.fd])
})

t.test('what is claimed after serve() is left to listen(), which accepts at once', async t => {
  const { inherited, taken } = setUp()
  inherited.serve()
  inherited.accept(server(), tcp)
  t.same(taken, [])
})

t.test('a socket that cannot be listened on is an error of its server', async t => {
  const { inherited } = setUp({ error: -22 })
  const failing = server()
  const failed = once(failing, 'error')
  inherited.accept(failing, tcp)
  inherited.serve()
  t.match((await failed)[0], { message: 'cannot listen on the inherited tcp:localhost:3000: error -22' })
})

t.test(
  'what nobody has claimed is closed, and its file removed, but not that of a service manager',
  async t => {
    const folder = temporaryFolder(t)
    const files = ['claimed', 'ours', 'foreign'].map(name => path.join(folder, name))
    const listeners: OpenListener[] = []
    for (const [index, file] of files.entries()) {
      const holder = net.createServer()
      await once(holder.listen(`${file}.bound`), 'listening')
      renameSync(`${file}.bound`, file)
      holder.close()
      const fd = openSync('/dev/null', 'r')
      const isForeign = index === 2 && ({ isForeign: true } as const)
      listeners.push({ key: `unix:${file}`, bound: file, fd, ...(isForeign || {}) })
    }
    const { inherited } = setUp({ listeners })
    const [claimed, ...dropped] = listeners
    inherited.claim(claimed!.key)
    inherited.drop()
    t.same(inherited.unclaimed(), [])
    t.same(files.map(existsSync), [true, false, true])
    t.doesNotThrow(() => closeSync(claimed!.fd), 'it was open yet')
    for (const { fd } of dropped) t.throws(() => closeSync(fd), { code: 'EBADF' })
    t.doesNotThrow(inherited.drop, 'nothing is closed twice')
  }
)

t.test('what another process wants is not waited for, but can be claimed', t => {
  const optional: OpenListener = { ...other, isOptional: true }
  const { inherited } = setUp({ listeners: [tcp, optional] })
  t.same(inherited.unclaimed(), [tcp, optional])
  t.same(inherited.wanted(), [tcp])
  t.match(inherited.claim(other.key), other)
  t.end()
})

t.test('of what is dropped the files go that nobody else wants', async t => {
  const folder = temporaryFolder(t)
  const bound = (name: string) => path.join(folder, name)
  for (const name of ['gone', 'kept']) {
    const server = net.createServer().listen(bound(name))
    await once(server, 'listening')
    t.teardown(() => server.close())
  }
  const listeners = ['gone', 'kept'].map(name => ({
    key: `unix:${bound(name)}`,
    bound: bound(name),
    fd: openSync('/dev/null', 'r')
  }))
  const { inherited } = setUp({ listeners })
  inherited.drop([`unix:${bound('gone')}`])
  t.notOk(existsSync(bound('gone')))
  t.ok(existsSync(bound('kept')))
  t.same(inherited.unclaimed(), [], 'all are closed here')
})

t.test('a file that this process may not remove stays, and all are closed', async t => {
  const folder = temporaryFolder(t)
  const bound = path.join(folder, 'old')
  const server = net.createServer().listen(bound)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const fds = [0, 1].map(() => openSync('/dev/null', 'r'))
  const [old, behind] = [
    { key: `unix:${bound}`, bound, fd: fds[0]! },
    { ...tcp, fd: fds[1]! }
  ]
  const { inherited } = setUp({ listeners: [old, behind] })
  asNobodyIn(folder, 0o555, () => t.doesNotThrow(inherited.drop, 'may not be changed'))
  t.same(inherited.unclaimed(), [])
  for (const fd of fds) t.throws(() => closeSync(fd), { code: 'EBADF' })
  asNobodyIn(folder, 0o000, () => t.doesNotThrow(() => removeFileOf(old), 'may not even be looked into'))
  t.ok(existsSync(bound))
})

/** Root may do whatever it likes in any folder. */
function asNobodyIn(folder: string, mode: number, call: () => void): void {
  const isRoot = process.getuid!() === 0
  chmodSync(folder, mode)
  if (isRoot) process.seteuid!(65534)
  try {
    call()
  } finally {
    if (isRoot) process.seteuid!(0)
    chmodSync(folder, 0o700)
  }
}
