import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t from 'tap'
import { createSocketFiles, type Fate } from '../../../lib/listeners/socket-files.js'
import { temporaryFolder } from '../../helper/folder.ts'

/** What was removed of the files of sockets that stopped. */
function setUp() {
  const files = createSocketFiles()
  const removed: string[] = []
  return { ...files, removed, stop }

  function stop(name: string): void {
    files.stopped({ path: name, remove: () => removed.push(name) })
  }
}

t.test('the last holder of a socket removes its file when its server stops', async t => {
  const { stop, removed } = setUp()
  stop('a')
  t.same(removed, ['a'])
})

t.test('a file stays where the next generation has the socket', async t => {
  const { stop, settle, removed } = setUp()
  settle('theirs')
  stop('a')
  for (const fate of ['undecided', 'ours'] satisfies Fate[]) settle(fate)
  stop('b')
  t.same(removed, [], 'for good')
})

t.test('while a generation boots a file stays, and goes if that one fails', async t => {
  const { stop, settle, removed } = setUp()
  settle('undecided')
  stop('a')
  settle('undecided')
  t.same(removed, [])
  settle('ours')
  t.same(removed, ['a'])
  stop('b')
  settle('ours')
  t.same(removed, ['a', 'b'], 'each once')
})

t.test("while a generation boots a file stays, and is that one's if it serves", async t => {
  const { stop, settle, removed } = setUp()
  settle('undecided')
  stop('a')
  settle('theirs')
  settle('ours')
  t.same(removed, [])
})

t.test('a file that cannot be removed is no error of the server that stops', async t => {
  const { stopped } = setUp()
  const remove = () => {
    throw new Error('EROFS')
  }
  t.doesNotThrow(() => stopped({ path: 'a', remove }))
})

t.test(
  'a bound socket gets its name, an inherited one has it already, and an abstract one has no file',
  async t => {
    const { bind } = setUp()
    const folder = temporaryFolder(t)
    const [asked, temporary] = [path.join(folder, 'app.sock'), path.join(folder, '.abcd')]
    const server = net.createServer()
    t.teardown(() => server.close())
    await once(server.listen(temporary), 'listening')
    t.equal(bind({ asked, temporary })?.path, asked)
    t.same(readdirSync(folder), ['app.sock'])
    const inherited = bind({ asked })
    t.equal(inherited?.path, asked)
    inherited?.remove()
    t.notOk(existsSync(asked))
    t.equal(bind({ asked: '\0app' }), undefined)
    writeFileSync(path.join(folder, 'file'), '')
    t.throws(() => bind({ asked, temporary: path.join(folder, 'gone') }), { code: 'ENOENT' })
  }
)

t.test('while other workers have the same sockets their files stay', async t => {
  const { stop, share, settle, removed } = setUp()
  share(true)
  stop('a')
  settle('ours')
  t.same(removed, [])
  share(false)
  stop('b')
  t.same(removed, ['b'])
})
