/** What systemd and its tools see of us: messages on a real datagram socket, sockets passed on, the unit files. */
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import t, { type Test } from 'tap'
import { createNotifier } from '../../lib/systemd/notify.js'
import { compile } from '../helper/compile.ts'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { linesOf, missing } from '../helper/program.ts'
import { cleanEnvironment } from '../helper/server.ts'
import { startServiceManager } from '../helper/service-manager.ts'

const examples = path.resolve(import.meta.dirname, '../../example/systemd')
const library = compile('systemd/sockets', temporaryFolder(t))

for (const kind of ['a file', 'an abstract one']) {
  const skip = missing('python3', 'systemd-notify')
  t.test(`a service manager gets every message in its order; its socket is ${kind}`, { skip }, async t => {
    const address = kind === 'a file' ? path.join(temporaryFolder(t), 'notify') : `@fgu-${process.pid}`
    const { message } = await startServiceManager(t, address)

    const warnings: unknown[] = []
    const log = { warn: (object: unknown) => warnings.push(object) }
    const notifier = createNotifier({ ...process.env, NOTIFY_SOCKET: address }, log as never)
    t.teardown(() => notifier.close())

    notifier.status('generation 1 boots')
    t.equal((await message())[0], 'STATUS=generation 1 boots')
    const before = process.hrtime.bigint() / 1_000n
    notifier.reloading()
    notifier.ready('-- 100 %, "quoted" $HOME = ü')
    notifier.stopping(41_000)
    const [reloading, at] = await message()
    const [, sent] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(reloading) ?? []
    t.ok(BigInt(sent!) >= before, 'not before it was said')
    t.ok(Number(sent) <= at, 'by the clock of systemd')
    t.equal((await message())[0], 'READY=1\nSTATUS=-- 100 %, "quoted" $HOME = ü')
    t.equal((await message())[0], 'STOPPING=1\nEXTEND_TIMEOUT_USEC=41000000')
    t.same(warnings, [])
  })
}

t.test(
  'the watchdog hears of us in time, and not all the time',
  {
    skip: missing('python3', 'systemd-notify')
  },
  async t => {
    const { address, message } = await startServiceManager(t)
    const env = { ...process.env, NOTIFY_SOCKET: address, WATCHDOG_USEC: '1000000' }
    const notifier = createNotifier(env, { warn() {} })
    t.teardown(() => notifier.close())
    notifier.ready('up')
    const [ready] = await message()
    const [first, t1] = await message()
    const [second, t2] = await message()
    t.same([ready, first, second], ['READY=1\nSTATUS=up', 'WATCHDOG=1', 'WATCHDOG=1'])
    t.ok(t2 - t1 > 250_000 && t2 - t1 < 1_000_000, `${t2 - t1} microseconds`)
  }
)

t.test('a service manager that is not there is one warning', { skip: missing('systemd-notify') }, async t => {
  const gone = path.join(temporaryFolder(t), 'gone')
  const alive = setInterval(() => {}, 1_000) // the tool doesn't keep us so
  t.teardown(() => clearInterval(alive))
  const warned = new Promise<{ err: Error }>(resolve => {
    createNotifier({ ...process.env, NOTIFY_SOCKET: gone }, { warn: resolve as never }).ready('up')
  })
  t.match((await warned).err.message, /^systemd-notify ended with 1: .*No such file or directory/)
})

/** Serves on every socket that systemd passes on, and says what they are. */
const service = `
  import { createServer } from 'node:net'
  import { listenersOfSystemd } from ${JSON.stringify(library)}
  const listeners = listenersOfSystemd(process.env, process.pid)
  for (const { fd, key } of listeners) createServer(socket => socket.end(key)).listen({ fd })
  console.log(JSON.stringify(listeners))
`

const canUnshare = spawnSync('unshare', ['--net', 'true']).status === 0

for (const alone of [false, true]) {
  const skip =
    missing('systemd-socket-activate') ||
    (alone && !canUnshare ? 'no new network namespace may be made' : false)
  const title = `the sockets of a .socket unit are served${alone ? ' with PrivateNetwork=yes' : ''}`
  t.test(title, { skip }, async t => {
    const file = path.join(temporaryFolder(t), 'with a space.sock')
    const abstract = `fgu-${process.pid}-${alone}`
    const [four, six] = [await freePort('127.0.0.1'), await freePort('::1')]
    const addresses = [`127.0.0.1:${four}`, `[::1]:${six}`, file, `@${abstract}`]
    const systemd = spawn(
      'systemd-socket-activate',
      [
        ...addresses.map(address => `--listen=${address}`),
        '--fdname=http:six:file:abstract',
        ...(alone ? ['unshare', '--net'] : []),
        process.execPath,
        '--input-type=module',
        '--eval',
        service
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], env: cleanEnvironment() }
    )
    const line = linesOf(t, systemd)
    await new Promise<void>((resolve, reject) => {
      let said = ''
      systemd.once('exit', () => reject(new Error(`systemd-socket-activate ended: ${said}`)))
      systemd.stderr!.on('data', chunk => {
        said += chunk
        if (said.split('Listening on').length > addresses.length) resolve()
      })
    })

    // The first connection starts the service, and waits for it.
    const [first, listeners] = await Promise.all([ask({ host: '127.0.0.1', port: four }), line()])
    t.same(JSON.parse(listeners), [
      { key: 'fd:3', bound: `127.0.0.1:${four}`, fd: 3, isForeign: true, name: 'http' },
      { key: 'fd:4', bound: `[::1]:${six}`, fd: 4, isForeign: true, name: 'six' },
      { key: 'fd:5', bound: file, fd: 5, isForeign: true, name: 'file' },
      { key: 'fd:6', bound: `\0${abstract}`, fd: 6, isForeign: true, name: 'abstract' }
    ])
    t.equal(first, 'fd:3', 'the connection that came first was not lost')
    t.equal(await ask({ host: '::1', port: six }), 'fd:4')
    t.equal(await ask({ path: file }), 'fd:5')
  })
}

async function ask(options: net.NetConnectOpts): Promise<string> {
  let answer = ''
  for await (const chunk of net.connect(options)) answer += chunk
  return answer
}

for (const name of readdirSync(examples)) {
  t.test(
    `example/systemd/${name} is what systemd understands`,
    { skip: missing('systemd-analyze') },
    async t => {
      t.same(complaints(t, [name]), [])
      // So that the test above can fail.
      t.match(
        complaints(t, [name], text => text.replace(/^(\w+)=/m, '$1x=')),
        [/Unknown key/]
      )
    }
  )
}

/** What `systemd-analyze verify` says of unit files, but for programs that this machine doesn't have. */
function complaints(t: Test, names: string[], change = (text: string) => text): string[] {
  const folder = temporaryFolder(t)
  const [, version] =
    /^systemd (\d+)/.exec(spawnSync('systemd-analyze', ['--version']).stdout.toString()) ?? []
  for (const name of readdirSync(examples)) {
    let text = readFileSync(path.join(examples, name), 'utf8')
    // What the comment in the file says for such a systemd.
    if (Number(version) < 253)
      text = text.replace('Type=notify-reload', 'Type=notify\nExecReload=/bin/kill -HUP $MAINPID')
    writeFileSync(path.join(folder, name), names.includes(name) ? change(text) : text)
  }
  const { stderr } = spawnSync('systemd-analyze', ['verify', ...names.map(name => path.join(folder, name))], {
    encoding: 'utf8'
  })
  return stderr
    .split('\n')
    .filter(line => line !== '' && !/: Command \S+ is not executable: No such file or directory$/.test(line))
}
