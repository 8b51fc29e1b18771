/** A supervised server as PID 1, as in a container: each in a PID namespace of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { cleanEnvironment, cli, fixtures, type Server, startServer } from '../helper/server.ts'
import { ask, inFlight } from '../helper/supervised.ts'
import { noTerminal, startInTerminal } from '../helper/terminal.ts'

/** With a /run of its own: there, as in a container, only one service has the control socket of PID 1. */
const namespace = [
  'unshare',
  '--fork',
  '--kill-child',
  '--pid',
  '--mount-proc',
  ...['sh', '-c', 'mount -t tmpfs run /run && exec "$@"', 'sh']
]
const skip =
  spawnSync(namespace[0]!, [...namespace.slice(1), 'true']).status !== 0 && 'no new PID namespace may be made'

/** As PID 1: `graceful-upgrade` with these words. */
function command(...words: string[]): string[] {
  return [...namespace, process.execPath, cli, ...words]
}

function start(t: Test, words: string[], options: object = {}): Server {
  return startServer(t, { hasPidNamespace: true, command: command(...words), ...options })
}

const server = path.join(fixtures, 'server.js')

/** `unshare` stays as the parent of the process that is PID 1 inside. */
function masterOf({ pid }: Server): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'))
}

t.test('SIGHUP to PID 1 upgrades, SIGTERM drains and ends with code 0', { skip }, async t => {
  const running = start(t, [server])
  const port = await running.port()
  await running.line('generation ready')
  const warnings = running.lines.filter(({ level }) => level > 30)
  t.equal(warnings.length, 1)
  t.match(warnings[0], {
    level: 40,
    msg: /^orphans are not reaped: start this with an init \(docker run --init/
  })
  const master = masterOf(running)
  process.kill(master, 'SIGHUP')
  t.match(await running.line('generation ready'), { generation: 2 })
  await running.line('generation retired')
  t.match(await ask(port), { generation: 2 })
  const request = inFlight(port, 'drain')
  await request.begun
  process.kill(master, 'SIGTERM')
  t.equal(await request.failure, 'none')
  t.same(await running.exit(), { code: 0, signal: null })
  t.equal(running.stderr(), '')
})

for (const [signal, code] of [
  ['SIGINT', 0],
  ['SIGQUIT', 1]
] as const) {
  t.test(`${signal} to PID 1 ends the server, with code ${code}`, { skip }, async t => {
    const running = start(t, [server])
    await running.port()
    await running.line('generation ready')
    process.kill(masterOf(running), signal)
    t.same(await running.exit(), { code, signal: null })
  })
}

t.test('a second signal to PID 1 ends everything at once, with code 1', { skip }, async t => {
  const running = start(t, [server])
  const request = inFlight(await running.port(), 25_000)
  await request.begun
  process.kill(masterOf(running), 'SIGTERM')
  await running.line('closing')
  process.kill(masterOf(running), 'SIGINT')
  await running.line('second signal, ending at once')
  t.same(await running.exit(), { code: 1, signal: null })
})

t.test('SIGUSR2 to PID 1 reaches the generation that serves', { skip }, async t => {
  const running = start(t, [path.join(fixtures, 'own-usr2.js')])
  await running.port()
  await running.line('generation ready')
  for (const _ of [1, 2]) {
    process.kill(masterOf(running), 'SIGUSR2')
    await running.line('SIGUSR2 heard')
  }
})

t.test(
  'Ctrl-C in a terminal, which the whole group gets, counts once',
  { skip: skip || noTerminal },
  async t => {
    const terminal = await startInTerminal(t, command(server), true)
    const { port } = (await terminal.line('listening on')).bound.at(-1)
    await terminal.line('generation ready')
    const request = inFlight(port, 'drain')
    await request.begun
    const ended = terminal.end('type')
    t.equal(await request.failure, 'none')
    t.equal(await ended, 'ended 0')
  }
)

t.test('standard input and the environment arrive; the code is the own one', { skip }, async t => {
  const script = `
    const input = require('node:fs').readFileSync(0, 'latin1')
    console.error(JSON.stringify({ input, lines: process.env.LINES_ }))
    process.exit(127)`
  const running = start(t, ['--', process.execPath, '-e', script], {
    env: { LINES_: 'a\nb' },
    stdin: 'pipe'
  })
  running.child.stdin!.end('some input')
  t.same(await running.exit(), { code: 127, signal: null })
  t.same(JSON.parse(running.stderr()), { input: 'some input', lines: 'a\nb' })
})

t.test('reload, status, stop and the pid file know the service by PID 1', { skip }, async t => {
  const file = path.join(temporaryFolder(t), 'server.pid')
  const running = start(t, ['--pid-file', file, server])
  await running.port()
  await running.line('generation ready')
  t.equal(readFileSync(file, 'utf8'), '1\n')
  const master = masterOf(running)
  const run = (...[program, ...words]: string[]) =>
    spawnSync(program!, words, { encoding: 'utf8', env: cleanEnvironment() })
  const enter = ['nsenter', '--target', `${master}`, '--pid', '--mount']
  const inside = (word: string, ...flags: string[]) =>
    run(...enter, process.execPath, cli, word, '1', ...flags)
  const outside = (word: string) => run(process.execPath, cli, word, `${master}`)
  t.match(JSON.parse(inside('status', '--json').stdout), { pid: 1, directory: running.directory })
  t.equal(inside('reload').status, 0)
  t.match(outside('status').stdout, /^pid +1\n/)
  t.equal(outside('stop').status, 0)
  t.same(await running.exit(), { code: 0, signal: null })
  t.notOk(existsSync(file))
})
