/** `graceful-upgrade server.js`: what is started, how it is told what to do, and how it says that it can't. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { defaultOptions } from '../../lib/options.js'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { startLoad } from '../helper/load.ts'
import { cli, fixtures, type Server, startServer } from '../helper/server.ts'
import { ask, ends, inFlight } from '../helper/supervised.ts'

const root = path.resolve(import.meta.dirname, '../..')

/** `graceful-upgrade` with these words and nothing else. */
const run = (t: Test, ...words: string[]) => startServer(t, { command: [process.execPath, cli, ...words] })

async function upgrades(t: Test, server: Server, generations = [2]): Promise<void> {
  const port = await server.port()
  const { pid } = await ask(port)
  t.not(pid, server.pid, 'a worker serves')
  for (const generation of generations) {
    t.match(await server.reload(), { generation })
    await server.line('generation retired')
    t.match(await ask(port), { generation })
  }
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
}

t.test('the first generation is a worker, and the master a process of its own', t =>
  upgrades(t, startServer(t, { supervised: [] }), [2, 3])
)

t.test('CommonJS, with require()', t =>
  upgrades(t, startServer(t, { supervised: [], fixture: 'commonjs.cjs' }))
)

t.test('TypeScript, with --import tsx', t =>
  upgrades(
    t,
    startServer(t, { cwd: root, supervised: [], nodeArgs: ['--import', 'tsx'], fixture: 'typescript.ts' })
  )
)

t.test('a command behind --, from node_modules/.bin of the directory', async t => {
  const words = ['start', '--port', String(await freePort()), '--address', '127.0.0.1', '--log-level', 'info']
  await upgrades(
    t,
    startServer(t, { cwd: root, supervised: ['--', 'fastify', ...words], fixture: 'cli-app.js' })
  )
})

t.test('options of node and arguments of the program reach the worker, in every generation', async t => {
  const folder = temporaryFolder(t)
  const preload = path.join(folder, 'preload.cjs')
  writeFileSync(preload, 'process.env.PRELOADED = process.argv0')
  const server = startServer(t, {
    supervised: [],
    nodeArgs: ['--max-old-space-size=100', '-r', preload, '--stack-trace-limit=13'],
    args: ['--drain-timeout', 'a b', '--', '-v']
  })
  const port = await server.port()
  for (const generation of [1, 2]) {
    const { argv, execArgv, env, cwd } = await ask(port, '/environment')
    t.same(argv.slice(1), [path.join(fixtures, 'server.js'), '--drain-timeout', 'a b', '--', '-v'])
    t.same(execArgv, ['--max-old-space-size=100', '-r', preload, '--stack-trace-limit=13'])
    t.ok(env.PRELOADED)
    t.equal(env.GRACEFUL_UPGRADE_DRAIN_TIMEOUT, undefined, 'behind the program nothing is for the master')
    t.equal(env.FASTIFY_GRACEFUL_UPGRADE, undefined)
    t.equal(cwd, realpathSync(server.directory))
    if (generation === 2) break
    await server.reload()
    await server.line('generation retired')
  }
})

for (const [how, options] of Object.entries({
  'on the command line': { supervised: ['--drain-timeout', '100'] },
  'on the command line, with =,': { supervised: ['--drain-timeout=100'] },
  'in the environment': { supervised: [], env: { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '100' } },
  'on the command line, which wins over the environment,': {
    supervised: ['--drain-timeout', '100'],
    env: { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '25000' }
  }
})) {
  t.test(`an option ${how} wins over the code`, async t => {
    const server = startServer(t, { ...options, release: { options: { drainTimeout: 30_000 } } })
    const port = await server.port()
    const answer = inFlight(port, 20_000)
    await answer.begun
    server.kill('SIGTERM')
    t.match(await answer.failure, /eof|reset/, 'the drain was cut')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}

t.test('the signals of the options are the master’s too', async t => {
  const server = startServer(t, {
    supervised: ['--reload-signal', 'SIGUSR2', '--close-signals=SIGQUIT,SIGINT']
  })
  await server.port()
  server.kill('SIGUSR2')
  t.match(await server.line('generation ready'), { generation: 2 })
  server.kill('SIGQUIT')
  t.same(await server.exit(), { code: 0, signal: null })
  t.match(await server.line('onClose hook', line => line.generation !== 1), {})
})

const program = path.join(fixtures, 'server.js')
for (const [title, words, message, code] of [
  ['nothing to run', [], /nothing to run/, 2],
  ['nothing behind --', ['--'], /nothing to run behind --/, 2],
  ['an unknown option', ['--bogus', program], /unknown option --bogus/, 2],
  ['a program that is not there', ['nowhere.js'], /no such file: .*\/nowhere\.js/, 2],
  ['a directory that is not there', ['--directory', 'nowhere', program], /no such directory: .*\/nowhere/, 2],
  ['a directory that is a file', ['--directory', program, program], /no such directory: .*\/server\.js/, 2],
  ['an option without its value', ['--pid-file'], /--pid-file needs a value/, 2],
  ['an option with an empty value', ['--drain-timeout=', program], /--drain-timeout needs a value/, 2],
  ['a time that is none', ['--drain-timeout', 'soon', program], /drainTimeout must be .* but is 'soon'/, 1],
  ['a handover that is none', ['--handover=some', program], /handover must be .* but is 'some'/, 1],
  ['a signal that is none', ['--reload-signal', 'HUP', program], /reloadSignal must be .* but is 'HUP'/, 1],
  ['one signal for two things', ['--reload-signal=SIGTERM', program], /must not contain the reloadSignal/, 1],
  ['node options and a command', ['--import', 'tsx', '--', 'fastify'], /--import is for node/, 2],
  ['a reload of nothing', ['reload'], /reload needs a pid/, 2]
] as const) {
  t.test(`${title}: the reason, code ${code}, and nothing is started`, async t => {
    const server = run(t, ...words)
    t.same(await server.exit(), { code, signal: null })
    t.match(await server.saying(message), message)
    t.match(server.stderr(), /^graceful-upgrade: .* \(GRACEFUL_UPGRADE_(USAGE|INVALID_OPTION)\)\n$/)
    t.same(server.lines, [])
  })
}

t.test('--help names every option, and --version is the package’s', async t => {
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  for (const word of ['--version', '-v']) {
    const server = run(t, word)
    t.match(await server.line(/./), { msg: version })
    t.same(await server.exit(), { code: 0, signal: null })
  }
  for (const word of ['--help', '-h']) {
    const server = run(t, word)
    await server.line(/^Usage: graceful-upgrade/)
    t.same(await server.exit(), { code: 0, signal: null })
    const help = server.lines.map(({ msg }) => msg).join('\n')
    for (const name of Object.keys(defaultOptions))
      t.match(help, new RegExp(`^  ${name.replace(/[A-Z]/g, '-$&').toLowerCase().replace(/^/, '--')} `, 'm'))
  }
})

const failures = [
  { boot: 'throw', code: 1, ended: /code 1/, stderr: /this release throws/ },
  { boot: 'exit3', code: 3, ended: /code 3/, stderr: /configuration is missing/ },
  { boot: 'exit0', code: 1, ended: /code 0/, stderr: /^$/ },
  { boot: 'killed', code: 1, ended: /SIGKILL/, stderr: /^$/ }
]
for (const { boot, code, ended, stderr } of failures) {
  t.test(`a first generation that fails (${boot}) ends the master at once, with code ${code}`, async t => {
    const server = startServer(t, { supervised: [], release: { boot } })
    t.same(await server.exit(), { code, signal: null })
    t.match(await server.line('start failed'), {
      err: { code: 'GRACEFUL_UPGRADE_EXITED', message: ended },
      generation: 1
    })
    t.match(await server.saying(stderr), stderr)
    t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 1, 'no second try')
  })
}

t.test('a first generation that aborts: the code is what a shell says', async t => {
  const script = 'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1e3)'
  const server = run(t, '--', process.execPath, '-e', script)
  t.same(await server.exit(), { code: 143, signal: null })
})

t.test('a command that is not there', async t => {
  const server = run(t, '--', 'no-such-command')
  t.same(await server.exit(), { code: 1, signal: null })
  t.match(await server.line('start failed'), {
    err: { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED', message: /no-such-command in / }
  })
})

for (const fixture of ['no-plugin.js', 'no-listen.js']) {
  t.test(`${fixture} is given up after readyTimeout, and nothing is left of it`, async t => {
    const server = startServer(t, { supervised: ['--ready-timeout', '1500'], fixture })
    const { pid } = await server.line('generation spawned')
    t.same(await server.exit(), { code: 1, signal: null })
    t.match(await server.line('start failed'), {
      err: { code: 'GRACEFUL_UPGRADE_READY_TIMEOUT', message: /readyTimeout \(1500 ms\)/ }
    })
    await ends(pid)
  })
}

/** What can go wrong on the way: text that isn't any, long parts, lines without an end. */
function difficultBytes(): Buffer {
  return Buffer.concat([
    Buffer.from('\0\x1b[31mred\r\n{"level":30}\nü\u2028'),
    Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
    randomBytes(50_000),
    Buffer.from('no newline')
  ])
}

/** What a process writes, as bytes. */
function listen(stream: Readable | null): () => Buffer {
  const chunks: Buffer[] = []
  stream?.on('data', chunk => chunks.push(chunk))
  return () => Buffer.concat(chunks)
}

for (const exit of [undefined, '3']) {
  const when = exit === undefined ? 'up to its very end' : 'that fails to start'
  t.test(`what a worker writes passes through byte for byte, ${when}`, async t => {
    const bytes = difficultBytes()
    const file = path.join(temporaryFolder(t), 'bytes')
    writeFileSync(file, bytes)
    const env = { BYTES: file, ...(exit ? { EXIT: exit } : {}) }
    const server = startServer(t, { supervised: [], fixture: 'noisy.js', env })
    const [stdout, stderr] = [listen(server.child.stdout), listen(server.child.stderr)]
    const closed = once(server.child, 'close')
    if (exit === undefined) {
      await server.line('generation ready')
      server.kill('SIGTERM')
    }
    t.same(await server.exit(), { code: Number(exit ?? 0), signal: null })
    await closed
    const outputs = [stdout(), stderr()] as const
    for (const [fd, output] of outputs.entries()) {
      for (const moment of exit === undefined ? ['begin', 'end'] : ['begin']) {
        const start = output.indexOf(`${moment} ${fd + 1}`)
        const written = Buffer.concat([Buffer.from(`${moment} ${fd + 1}`), bytes, Buffer.from('\n')])
        t.ok(start >= 0, `${moment} of descriptor ${fd + 1}`)
        t.ok(output.subarray(start, start + written.length).equals(written), 'whole and unchanged')
        output.fill(' ', start, start + written.length)
      }
    }
    t.equal(outputs[1].toString().trim(), '', 'and the master adds nothing to standard error')
  })
}

t.test('each line of the master is one of pino’s', async t => {
  const server = startServer(t, { supervised: [] })
  const stdout = listen(server.child.stdout)
  await server.port()
  server.deploy({ boot: 'throw' })
  server.kill('SIGHUP')
  await server.line('upgrade failed')
  server.deploy({})
  await server.reload()
  server.kill('SIGTERM')
  await server.exit()
  const lines = stdout().toString().trimEnd().split('\n')
  const own = lines.map(line => JSON.parse(line)).filter(({ pid }) => pid === server.pid)
  t.strictSame(
    own.map(({ msg }) => msg).filter(msg => msg !== 'generation retired'),
    ['spawned', 'ready', 'spawned', 'upgrade failed', 'spawned', 'ready', 'closing'].map(word =>
      word === 'spawned' || word === 'ready' ? `generation ${word}` : word
    )
  )
  for (const line of own) {
    t.match(line, { level: Number, time: Number, pid: server.pid, hostname: hostname(), msg: String })
    t.ok(Math.abs(Date.now() - line.time) < 60_000)
  }
})

for (const [title, options] of Object.entries({
  'by SIGHUP to the master': { supervised: ['--handover', 'all', '--poll-interval=50'] },
  'by SIGHUP to the worker': { supervised: ['--handover', 'all', '--poll-interval=50'], to: 'worker' },
  'by the worker’s upgrade()': { supervised: ['--handover', 'all', '--poll-interval=50'], to: 'application' }
} as Record<string, { supervised: string[]; to?: string }>)) {
  t.test(`three upgrades in a row ${title}: no client notices`, async t => {
    const server = startServer(t, {
      supervised: options.supervised,
      release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: false } }
    })
    const port = await server.port()
    const address = { host: '127.0.0.1', port }
    const running = startLoad(t, address, { clients: 20, pause: [0, 50] })
    let { pid } = await ask(port)
    for (const generation of [2, 3, 4]) {
      if (options.to === 'application') {
        const { body } = await new Client(address).post('/upgrade', '', { Connection: 'close' })
        t.match(JSON.parse(body.toString()), { generation })
      } else {
        process.kill(options.to === 'worker' ? pid : server.pid, 'SIGHUP')
      }
      ;({ pid } = await server.line('generation ready', line => line.generation === generation))
      await server.line('generation retired', line => line.generation === generation - 1)
    }
    const { failures, opened, generations, requests } = await running.stop()
    t.same(failures, {}, `none of ${requests} requests failed`)
    t.equal(opened, 20, 'on the connections of the beginning')
    t.ok(generations[4])
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  })
}

t.test('an upgrade to a version that throws: the old one serves on, and no client notices', async t => {
  const server = startServer(t, { supervised: [] })
  const port = await server.port()
  const running = startLoad(t, { host: '127.0.0.1', port }, { clients: 10, fresh: true, pause: [0, 30] })
  server.deploy({ boot: 'throw' })
  server.kill('SIGHUP')
  t.match(await server.line('upgrade failed'), {
    err: { code: 'GRACEFUL_UPGRADE_EXITED', lastWords: /this release throws/ }
  })
  t.match(await server.saying(/this release throws/), /this release throws/)
  t.match(await ask(port), { generation: 1 })
  server.deploy({})
  t.match(await server.reload(), { generation: 3 })
  t.same((await running.stop()).failures, {})
})

/** Two releases behind a link. */
function releases(t: Test) {
  const folder = temporaryFolder(t)
  for (const release of ['1', '2']) {
    const directory = path.join(folder, 'releases', release)
    mkdirSync(directory, { recursive: true })
    symlinkSync(path.join(root, 'node_modules'), path.join(directory, 'node_modules'))
    // The package itself is found by its own name only from within.
    const source = readFileSync(program, 'utf8')
      .replace("version = '1'", `version = '${release}'`)
      .replace("'fastify-graceful-upgrade'", JSON.stringify(path.join(root, 'dist/index.js')))
    writeFileSync(path.join(directory, 'server.mjs'), source)
  }
  const current = path.join(folder, 'current')
  const flip = (release: string) => {
    rmSync(current, { force: true })
    symlinkSync(path.join('releases', release), current)
  }
  flip('1')
  return { folder, current, flip }
}

const shell = (script: string) => ['bash', '-c', script, process.execPath, cli]
for (const [title, way] of Object.entries({
  'graceful-upgrade --directory current server.mjs': ({ folder }) =>
    shell(`cd ${folder} && exec "$0" "$1" --directory current server.mjs`),
  'graceful-upgrade --directory /absolute/current server.mjs': ({ current }) =>
    shell(`cd / && exec "$0" "$1" --directory ${current} server.mjs`),
  'cd current && graceful-upgrade server.mjs': ({ current }) =>
    shell(`cd ${current} && exec "$0" "$1" ./server.mjs`),
  'graceful-upgrade current/server.mjs': ({ folder }) =>
    shell(`cd ${folder} && exec "$0" "$1" current/server.mjs`)
} as Record<string, (where: { folder: string; current: string }) => string[]>)) {
  t.test(`flipping current -> releases/2 is a deployment: ${title}`, async t => {
    const { flip, ...where } = releases(t)
    const server = startServer(t, { command: way(where) })
    const port = await server.port()
    await server.line('generation ready')
    t.match(await ask(port), { version: '1' })
    flip('2')
    await server.reload()
    await server.line('generation retired')
    t.match(await ask(port), { version: '2' })
  })
}

t.test('a PWD that is not where the program was started is not believed', async t => {
  const { current } = releases(t)
  const command = [process.execPath, cli, 'server.mjs']
  const server = startServer(t, { cwd: current, env: { PWD: '/' }, command })
  t.match(await ask(await server.port()), { version: '1' })
})

t.test('a pid file is there once the server is ready, and as long as it serves', async t => {
  const file = path.join(temporaryFolder(t), 'server.pid')
  const named = () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined)
  const server = startServer(t, { supervised: ['--pid-file', file], release: { boot: 'slow' } })
  await server.line('generation spawned')
  t.equal(named(), undefined, 'not while it boots')
  await server.port()
  t.equal(named(), server.pid)
  server.deploy({})
  await server.reload()
  t.equal(named(), server.pid)
  server.deploy({ boot: 'throw' })
  server.kill('SIGHUP')
  await server.line('upgrade failed')
  t.equal(named(), server.pid, 'after one that failed')
  server.deploy({})
  rmSync(file)
  await server.reload()
  t.equal(named(), server.pid, 'written again')
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(named(), undefined)
})

t.test('a pid file that can’t be written any more is an error in the log, and no failed upgrade', async t => {
  const folder = path.join(temporaryFolder(t), 'run')
  mkdirSync(folder)
  const server = startServer(t, { supervised: ['--pid-file', path.join(folder, 'server.pid')] })
  const port = await server.port()
  rmSync(folder, { recursive: true })
  t.match(await server.reload(), { generation: 2 })
  t.match(await server.line('pid file not written'), { err: { code: 'GRACEFUL_UPGRADE_PID_FILE' } })
  await server.line('generation retired') // until then it may answer too
  t.match(await ask(port), { generation: 2 })
})

t.test('a pid file that names a running process is refused, and nothing is started', async t => {
  const file = path.join(temporaryFolder(t), 'server.pid')
  writeFileSync(file, `${process.pid}\n`)
  for (const options of [
    { supervised: ['--pid-file', file] },
    { supervised: [], env: { GRACEFUL_UPGRADE_PID_FILE: file } }
  ]) {
    const server = startServer(t, options)
    t.same(await server.exit(), { code: 1, signal: null })
    const refusal = /which is running.*\(GRACEFUL_UPGRADE_PID_FILE\)/
    t.match(await server.saying(refusal), refusal)
    t.same(server.lines, [])
  }
  t.equal(readFileSync(file, 'utf8'), `${process.pid}\n`)
})
