import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import net, { type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { isSocketFile, moveIntoPlace, socketFile, temporaryName } from '../../../lib/listeners/unix-socket.js'

/** A folder for one test, the path of a socket that is not there yet, and what makes sockets in it. */
function setUp(t: Test) {
  const folder = mkdtempSync(path.join(tmpdir(), 'fgu-'))
  const asked = path.join(folder, 'app.sock')
  const servers: Server[] = []
  t.teardown(async () => {
    await Promise.all(servers.map(close))
    rmSync(folder, { recursive: true })
  })
  return { folder, asked, listen, leaveBehind }

  async function listen(file: string, answer = ''): Promise<Server> {
    const server = net.createServer(socket => socket.end(answer))
    servers.push(server)
    await once(server.listen(file), 'listening')
    return server
  }

  /** The socket file of a process that has crashed: Node.js removes only the name that it has bound. */
  async function leaveBehind(file: string): Promise<void> {
    const server = await listen(`${file}.bound`)
    renameSync(`${file}.bound`, file)
    await close(server)
  }
}

function close(server: Server): Promise<void> {
  return new Promise(resolve => server.close(() => resolve()))
}

async function ask(file: string): Promise<string> {
  const answer: Buffer[] = []
  for await (const chunk of net.connect(file)) answer.push(chunk)
  return Buffer.concat(answer).toString()
}

t.test('abstract sockets have no file', async t => {
  t.equal(isSocketFile('/run/app.sock'), true)
  t.equal(isSocketFile('app.sock'), true)
  t.equal(isSocketFile('\0app'), false)
})

t.test('a temporary name is a free and hidden one in the same folder', async t => {
  const { folder, asked } = setUp(t)
  const name = temporaryName(asked)!
  t.equal(path.dirname(name), folder)
  t.match(path.basename(name), /^\.[0-9a-z]{1,4}$/)
  t.notOk(existsSync(name))
  t.not(temporaryName(asked), name)
  t.same(readdirSync(folder), [], 'nothing is made by asking')
})

t.test('a temporary name is spelled as the path was: an absolute one might be too long', async t => {
  t.equal(path.dirname(temporaryName('no-such.sock')!), '.')
  t.equal(temporaryName(path.join('/tmp', 'x'.repeat(110), 'no-such.sock')), undefined)
})

t.test('a temporary name that is taken is not given out', async t => {
  const { folder, asked } = setUp(t)
  const random = Math.random
  t.teardown(() => {
    Math.random = random
  })
  const numbers = [0.3, 0.3, 0, 0.4]
  const names = [0.3, 0.4].map(number => path.join(folder, `.${number.toString(36).slice(2, 6)}`))
  Math.random = () => numbers.shift()!
  t.equal(temporaryName(asked), names[0])
  writeFileSync(names[0]!, '')
  t.equal(temporaryName(asked), names[1])

  for (const digit of [0, 3, 9]) {
    Math.random = () => Number.parseInt(`${digit}905`, 36) / 36 ** 4 + 1e-9
    const name = path.basename(temporaryName(asked)!)
    t.ok(Number.isNaN(Number(name)), `${name} is no number, which Node.js would not take for a path`)
  }

  Math.random = () => 0.3
  t.equal(temporaryName(asked), undefined, 'and the search for another one ends')
})

t.test('a stale socket may be replaced', async t => {
  const { folder, asked, leaveBehind } = setUp(t)
  await leaveBehind(asked)
  t.ok(lstatSync(asked).isSocket())
  t.equal(path.dirname(temporaryName(asked)!), folder)
  t.ok(lstatSync(asked).isSocket(), 'but not yet')
})

t.test('nothing is started to find that out: the executable may be an application', async t => {
  const { asked, leaveBehind } = setUp(t)
  const { execPath } = process
  t.teardown(() => {
    process.execPath = execPath
  })
  await leaveBehind(asked)
  process.execPath = '/bin/true'
  t.type(temporaryName(asked), 'string')
})

t.test('a socket that somebody answers on is left to him', async t => {
  const { asked, listen } = setUp(t)
  const server = await listen(asked)
  t.equal(temporaryName(asked), undefined)
  await close(server)
  t.type(temporaryName(asked), 'string')
})

t.test('a file of another kind is never replaced', async t => {
  const { folder, asked, listen, leaveBehind } = setUp(t)
  writeFileSync(asked, 'precious')
  t.equal(temporaryName(asked), undefined, 'a file')

  mkdirSync(path.join(folder, 'folder'))
  t.equal(temporaryName(path.join(folder, 'folder')), undefined, 'a folder')

  await listen(path.join(folder, 'live'))
  await leaveBehind(path.join(folder, 'stale'))
  for (const target of ['live', 'stale', 'gone']) {
    const link = path.join(folder, `link-to-${target}`)
    symlinkSync(target, link)
    t.equal(temporaryName(link), undefined, `a link to a ${target} socket`)
  }
})

t.test('a socket that was moved into place answers by its real name alone', async t => {
  const { folder, asked, listen } = setUp(t)
  const temporary = temporaryName(asked)!
  await listen(temporary, 'here')
  const file = moveIntoPlace(temporary, asked)
  t.equal(file.path, asked)
  t.same(readdirSync(folder), ['app.sock'])
  t.equal(await ask(asked), 'here')
})

t.test('the path answers at every instant while a next socket takes it', async t => {
  const { folder, asked, listen } = setUp(t)
  const bind = async (answer: string) => {
    const temporary = path.join(folder, `.${answer}`)
    await listen(temporary, answer)
    return () => moveIntoPlace(temporary, asked)
  }
  const [takeFirst, takeSecond] = [await bind('first'), await bind('second')]
  takeFirst()
  const before = ask(asked)
  takeSecond()
  const after = ask(asked)
  t.same(await Promise.all([before, after]), ['first', 'second'])
})

t.test('the file stays when its server closes, and goes when it is removed', async t => {
  const { folder, asked, listen } = setUp(t)
  const temporary = temporaryName(asked)!
  const server = await listen(temporary)
  const file = moveIntoPlace(temporary, asked)
  await close(server)
  t.ok(lstatSync(asked).isSocket())
  file.remove()
  t.same(readdirSync(folder), [])
  t.doesNotThrow(() => file.remove(), 'also twice')
})

t.test('the file of another process is not removed', async t => {
  const { asked, listen } = setUp(t)
  const first = temporaryName(asked)!
  await listen(first, 'first')
  const file = moveIntoPlace(first, asked)
  const second = `${asked}.second`
  await listen(second, 'second')
  renameSync(second, asked)
  file.remove()
  t.equal(await ask(asked), 'second')
})

t.test('a file of another kind is not removed', async t => {
  const { asked, leaveBehind } = setUp(t)
  await leaveBehind(asked)
  const file = socketFile(asked)
  rmSync(asked)
  writeFileSync(asked, 'precious')
  file.remove()
  t.ok(lstatSync(asked).isFile())
  socketFile(asked).remove()
  t.ok(lstatSync(asked).isFile())
})

t.test('an inherited socket is removed by whoever listens last', async t => {
  const { folder, asked, leaveBehind } = setUp(t)
  await leaveBehind(asked)
  socketFile(asked).remove()
  t.same(readdirSync(folder), [])
})

t.test('what was not there at first is not removed later', async t => {
  const { asked, leaveBehind } = setUp(t)
  const file = socketFile(asked)
  await leaveBehind(asked)
  file.remove()
  t.ok(existsSync(asked))
})

t.test('a relative path is removed also when the directory has changed', async t => {
  const { folder, asked, leaveBehind } = setUp(t)
  await leaveBehind(asked)
  const here = process.cwd()
  t.teardown(() => process.chdir(here))
  process.chdir(folder)
  const file = socketFile('app.sock')
  process.chdir(here)
  file.remove()
  t.notOk(existsSync(asked))
})

t.test('moving fails where the temporary name is gone', async t => {
  const { asked } = setUp(t)
  t.throws(() => moveIntoPlace(`${asked}.gone`, asked), { code: 'ENOENT' })
})
