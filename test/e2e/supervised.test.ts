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
import { cli, fastify, fixtures, type Server, startServer } from '../helper/server.ts'
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

t.test('TypeScript, with --import=tsx', t =>
  upgrades(
    t,
    startServer(t, { cwd: root, supervised: [], nodeArgs: ['--import=tsx'], fixture: 'typescript.ts' })
  )
)

t.test('options of node and arguments of the program reach the worker, in every generation', async t => {
  const folder = temporaryFolder(t)
  const preload = path.join(folder, 'preload.cjs')
  writeFileSync(preload, 'process.env.PRELOADED = process.argv0 + typeof gc')
  const file = path.join(folder, '.env')
  writeFileSync(file, 'OF_FILE=yes')
  const flags = ['--max-old-space-size=100', `--require=${preload}`, `--env-file=${file}`, '--expose-gc']
  const inspector = String(await freePort())
  const inspect = (port: string) => `--inspect=127.0.0.1:${port}`
  const server = startServer(t, {
    supervised: [],
    nodeArgs: [inspect(inspector), ...flags],
    args: ['--drain-timeout', 'a b', '--', '-v']
  })
  const port = await server.port()
  for (const generation of [1, 2]) {
    const { argv, execArgv, env, cwd } = await ask(port, '/environment')
    t.same(argv.slice(1), [path.join(fixtures, 'server.js'), '--drain-timeout', 'a b', '--', '-v'])
    t.same(execArgv, [inspect(generation === 1 ? inspector : '0'), ...flags])
    t.match(env.PRELOADED, /function$/, 'as with --expose-gc')
    t.equal(env.OF_FILE, 'yes')
    t.equal(env.GRACEFUL_UPGRADE_DRAIN_TIMEOUT, undefined, 'behind the program nothing is for the master')
    t.equal(env.FASTIFY_GRACEFUL_UPGRADE, undefined)
    t.equal(cwd, realpathSync(server.directory))
    if (generation === 2) break
    await server.reload()
    await server.line('generation retired')
  }
  const opened = server.stderr().matchAll(/Debugger listening on ws:\/\/127\.0\.0\.1:(\d+)/g)
  const [first, second, ...others] = Array.from(opened, ([, port]) => port)
  t.same([first, others], [inspector, []])
  t.ok(second !== undefined && second !== first, 'the inspector of a later one is on a free port')
})

t.test('an option on the command line wins over the environment and the code', async t => {
  const server = startServer(t, {
    supervised: ['--drain-timeout=100'],
    env: { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '25000' },
    release: { options: { drainTimeout: 30_000 } }
  })
  const port = await server.port()
  const answer = inFlight(port, 20_000)
  await answer.begun
  server.kill('SIGTERM')
  t.match(await answer.failure, /eof|reset/, 'the drain was cut')
  t.same(await server.exit(), { code: 0, signal: null })
})

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
  ['an option of ours with a slip', ['--drain-timeot', '5', program], /'bad option: --drain-timeot'/, 2],
  ['a time that is none', ['--drain-timeout', 'soon', program], /drainTimeout must be .* but is 'soon'/, 1]
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
  const asked = run(t, '--version')
  t.match(await asked.line(/./), { msg: version })
  t.same(await asked.exit(), { code: 0, signal: null })

  const server = run(t, '--help')
  await server.line(/^Usage: graceful-upgrade/)
  t.same(await server.exit(), { code: 0, signal: null })
  const help = server.lines.map(({ msg }) => msg).join('\n')
  const { close, ...others } = defaultOptions // is a function
  t.notMatch(help, /^ {2}--close /m)
  for (const name of Object.keys(others))
    t.match(help, new RegExp(`^  ${name.replace(/[A-Z]/g, '-$&').toLowerCase().replace(/^/, '--')} `, 'm'))
})

t.test('a first generation that fails ends the master at once, with its code', async t => {
  const server = startServer(t, { supervised: [], release: { boot: 'exit3' } })
  t.same(await server.exit(), { code: 3, signal: null })
  t.match(await server.line('start failed'), {
    err: { code: 'GRACEFUL_UPGRADE_EXITED', message: /code 3/ },
    generation: 1
  })
  t.match(await server.saying(/configuration is missing/), /configuration is missing/)
  t.equal(server.lines.filter(({ msg }) => msg === 'generation spawned').length, 1, 'no second try')
})

t.test(
  'an application that never listens is given up after readyTimeout, and nothing is left of it',
  async t => {
    const server = startServer(t, { supervised: ['--ready-timeout', '500'], fixture: 'no-listen.js' })
    const { pid } = await server.line('generation spawned')
    t.same(await server.exit(), { code: 1, signal: null })
    t.match(await server.line('start failed'), {
      err: { code: 'GRACEFUL_UPGRADE_READY_TIMEOUT', message: /readyTimeout \(500 ms\)/ }
    })
    await ends(pid)
  }
)

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

t.test('no client notices upgrades in a row, whoever asks for them, nor one that fails', async t => {
  const server = startServer(t, {
    supervised: ['--handover', 'all', '--poll-interval=50'],
    release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover: false } }
  })
  const stdout = listen(server.child.stdout)
  const port = await server.port()
  const address = { host: '127.0.0.1', port }
  const running = startLoad(t, address, { clients: 20, pause: [0, 50] })
  const fresh = startLoad(t, address, { clients: 10, fresh: true, pause: [0, 30] })
  let { pid } = await ask(port)
  t.not(pid, server.pid, 'a worker serves, also the first generation')

  await t.test('a version that throws: the old one serves on', async t => {
    server.deploy({ boot: 'throw' })
    server.kill('SIGHUP')
    t.match(await server.line('upgrade failed'), {
      err: { code: 'GRACEFUL_UPGRADE_EXITED', lastWords: /this release throws/ }
    })
    t.match(await server.saying(/this release throws/), /this release throws/)
    t.match(await ask(port), { generation: 1 })
    server.deploy({ listen: [address], options: { handover: false } })
  })

  for (const [index, by] of ['SIGHUP to the master', 'SIGHUP to the worker', 'upgrade()'].entries()) {
    const generation = index + 3
    await t.test(`by ${by}: generation ${generation} takes over`, async t => {
      if (by === 'upgrade()') {
        const { body } = await new Client(address).post('/upgrade', '', { Connection: 'close' })
        t.match(JSON.parse(body.toString()), { generation })
      } else {
        process.kill(by === 'SIGHUP to the worker' ? pid : server.pid, 'SIGHUP')
      }
      ;({ pid } = await server.line('generation ready', line => line.generation === generation))
      await server.line('generation retired')
      t.match(await ask(port), { generation, pid })
    })
  }
  const { failures, opened, generations, requests } = await running.stop()
  t.same(failures, {}, `none of ${requests} requests failed`)
  t.same((await fresh.stop()).failures, {}, 'nor of those with a connection each')
  t.equal(opened, 20, 'on the connections of the beginning')
  t.ok(generations[5])
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })

  await t.test('each line of the master is one of pino’s', async t => {
    const lines = stdout().toString().trimEnd().split('\n')
    const own = lines.map(line => JSON.parse(line)).filter(line => line.pid === server.pid)
    t.strictSame(
      own.map(({ msg }) => msg).filter(msg => msg !== 'generation retired'),
      [
        ...['generation spawned', 'generation ready', 'generation spawned', 'upgrade failed'],
        ...[3, 4, 5].flatMap(() => ['generation spawned', 'generation ready']),
        'closing'
      ]
    )
    for (const line of own) {
      t.match(line, { level: Number, time: Number, pid: server.pid, hostname: hostname(), msg: String })
      t.ok(Math.abs(Date.now() - line.time) < 60_000)
    }
  })
})

/** Two releases behind a link. */
function releases(t: Test) {
  const folder = temporaryFolder(t)
  for (const release of ['1', '2']) {
    const directory = path.join(folder, 'releases', release)
    mkdirSync(path.join(directory, 'node_modules'), { recursive: true })
    symlinkSync(fastify, path.join(directory, 'node_modules/fastify'))
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
  'cd current && graceful-upgrade server.mjs': ({ current }) =>
    shell(`cd ${current} && exec "$0" "$1" ./server.mjs`)
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
  const folder = path.join(temporaryFolder(t), 'run')
  mkdirSync(folder)
  const file = path.join(folder, 'server.pid')
  const named = () => (existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined)
  const server = startServer(t, { supervised: ['--pid-file', file], release: { boot: 'held' } })
  await server.line('generation spawned')
  t.equal(named(), undefined, 'not while it boots')
  server.deploy({})
  const port = await server.port()
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

  await t.test('where it can’t be written any more that is in the log, and no failed upgrade', async t => {
    rmSync(folder, { recursive: true })
    t.match(await server.reload(), { generation: 5 })
    t.match(await server.line('pid file not written'), { err: { code: 'GRACEFUL_UPGRADE_PID_FILE' } })
    while ((await ask(port)).generation !== 5) {} // until the old one has gone it may answer too
    mkdirSync(folder)
    await server.reload()
    t.equal(named(), server.pid, 'and where it can it is written again')
  })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
  t.equal(named(), undefined)
})

t.test('a pid file that names a running process is refused, and nothing is started', async t => {
  const file = path.join(temporaryFolder(t), 'server.pid')
  writeFileSync(file, `${process.pid}\n`)
  const server = startServer(t, { supervised: ['--pid-file', file] })
  t.same(await server.exit(), { code: 1, signal: null })
  const refusal = /which is running.*\(GRACEFUL_UPGRADE_PID_FILE\)/
  t.match(await server.saying(refusal), refusal)
  t.same(server.lines, [])
  t.equal(readFileSync(file, 'utf8'), `${process.pid}\n`)
})
