/**
 * A supervised server as PID 1, each in a PID namespace of its own. INIT_SHELL=/bin/bash (or another one) takes the
 * place of /bin/sh.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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
  ...inShell('mount -t tmpfs run /run')
]
const skip =
  spawnSync(namespace[0]!, [...namespace.slice(1), 'true']).status !== 0 && 'no new PID namespace may be made'
/** Where not, Node.js itself is PID 1. */
const hasInit = 'execve' in process && existsSync('/bin/sh')
const skipInit = skip || (!hasInit && 'this Node.js cannot become an init')

/** As PID 1: `graceful-upgrade` with these words. */
function command(...words: string[]): string[] {
  const { INIT_SHELL: shell } = process.env
  const mounting = shell ? inShell(`mount --bind ${shell} ${realpathSync('/bin/sh')}`) : []
  return [...namespace, ...mounting, process.execPath, cli, ...words]
}

/** A prefix that does something and becomes the command behind it. dash drops a variable of such a name. */
function inShell(script: string): string[] {
  return ['sh', '-c', `${script} && exec env A-B=c "$@"`, 'sh']
}

function start(t: Test, words: string[], options: object = {}): Server {
  return startServer(t, { hasPidNamespace: true, command: command(...words), ...options })
}

const server = path.join(fixtures, 'server.js')

/** `unshare` stays as the parent of the process that is PID 1 inside. */
function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return children === '' ? [] : children.split(' ').map(Number)
}

function initOf({ pid }: Server): number {
  return childrenOf(pid)[0]!
}

function isZombie(pid: number): boolean {
  try {
    return /\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

t.test('SIGHUP to PID 1 upgrades, SIGTERM drains and ends with code 0', { skip }, async t => {
  const running = start(t, [server])
  const port = await running.port()
  await running.line('generation ready')
  const reason = running.lines.filter(({ msg }) => msg === 'orphans are not reaped: start this with an init')
  if (hasInit) t.same(reason, [])
  else t.match(reason, [{ level: 40, reason: `Node.js ${process.version} has no process.execve()` }])
  const first = initOf(running)
  process.kill(first, 'SIGHUP')
  t.match(await running.line('generation ready'), { generation: 2 })
  await running.line('generation retired')
  t.match(await ask(port), { generation: 2 })
  const request = inFlight(port, 'drain')
  await request.begun
  process.kill(first, 'SIGTERM')
  t.equal(await request.failure, 'none')
  t.same(await running.exit(), { code: 0, signal: null })
  t.equal(running.stderr(), '')
})

t.test('a thousand orphans leave no zombie; without an init all of them do', { skip }, async t => {
  const running = start(t, [path.join(fixtures, 'orphans.js')])
  const port = await running.port()
  await running.line('generation ready')
  const init = initOf(running)
  const own = childrenOf(init)
  await ask(port, '/orphans/1000')
  // A slow machine has reaped the first ones before their parent ended.
  const orphans = childrenOf(init).filter(pid => !own.includes(pid))
  t.ok(orphans.length > 0, 'PID 1 has got them')
  if (hasInit) while (childrenOf(init).length > own.length) await sleep(50)
  else while (!orphans.every(isZombie)) await sleep(50)
  const left = hasInit ? [] : orphans
  t.same(childrenOf(init), [...own, ...left])
  process.kill(init, 'SIGTERM')
  t.same(await running.exit(), { code: 0, signal: null })
})

for (const [signal, code] of [
  ['SIGINT', 0],
  ['SIGQUIT', 1]
] as const) {
  t.test(`${signal} to PID 1 ends the server, with code ${code}`, { skip }, async t => {
    const running = start(t, [server])
    await running.port()
    await running.line('generation ready')
    process.kill(initOf(running), signal)
    t.same(await running.exit(), { code, signal: null })
  })
}

t.test('a second signal to PID 1 ends everything at once, with code 1', { skip }, async t => {
  const running = start(t, [server])
  const request = inFlight(await running.port(), 25_000)
  await request.begun
  process.kill(initOf(running), 'SIGTERM')
  await running.line('closing')
  process.kill(initOf(running), 'SIGINT')
  await running.line('second signal, ending at once')
  t.same(await running.exit(), { code: 1, signal: null })
})

t.test('SIGUSR2 to PID 1 reaches the generation that serves', { skip }, async t => {
  const running = start(t, [path.join(fixtures, 'own-usr2.js')])
  await running.port()
  await running.line('generation ready')
  for (const _ of [1, 2]) {
    process.kill(initOf(running), 'SIGUSR2')
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

t.test(
  'standard input, the environment and the flags of Node.js arrive; the code is the own one',
  { skip },
  async t => {
    const script = `
    const input = require('node:fs').readFileSync(0, 'latin1')
    const { SHLVL, OLDPWD, ...env } = process.env
    console.error(JSON.stringify({ input, SHLVL, OLDPWD, odd: env['A-B'], lines: env.LINES_ }))
    process.exit(127)`
    const running = start(t, ['--', process.execPath, '-e', script], {
      env: { SHLVL: '7', 'A-B': 'c', LINES_: 'a\nb' },
      stdin: 'pipe'
    })
    running.child.stdin!.end('some input')
    t.same(await running.exit(), { code: 127, signal: null })
    t.same(JSON.parse(running.stderr()), { input: 'some input', SHLVL: '7', odd: 'c', lines: 'a\nb' })
  }
)

t.test(
  'the master gets no descriptor besides the standard ones, and its flags',
  { skip: skipInit },
  async t => {
    const [program, ...words] = command(server).slice(command().length - 2)
    const flags = ['--no-warnings', '--max-semi-space-size=8']
    const running = start(t, [], { command: [...command().slice(0, -2), program, ...flags, ...words] })
    await running.port()
    await running.line('generation ready')
    const [master] = childrenOf(initOf(running))
    const line = readFileSync(`/proc/${master}/cmdline`, 'utf8').split('\0')
    t.same(line, [program, ...flags, ...words, ''])
    for (const fd of [0, 1, 2]) t.equal(descriptor(master!, fd), descriptor(initOf(running), fd))
    t.notOk(existsSync(`/proc/${master}/fd/9`) && descriptor(master!, 9) === descriptor(master!, 0))
  }
)

function descriptor(pid: number, fd: number): string {
  return readlinkSync(`/proc/${pid}/fd/${fd}`)
}

t.test('a master that is killed: the code is that of a shell', { skip: skipInit }, async t => {
  const running = start(t, [server])
  await running.port()
  await running.line('generation ready')
  process.kill(initOf(running), 'SIGUSR2') // `wait` has been interrupted before
  await running.line('generation died')
  await running.line('generation ready')
  process.kill(childrenOf(initOf(running))[0]!, 'SIGKILL')
  t.same(await running.exit(), { code: 137, signal: null })
})

t.test('reload, status, stop and the pid file know the service by PID 1', { skip }, async t => {
  const file = path.join(temporaryFolder(t), 'server.pid')
  const running = start(t, ['--pid-file', file, server])
  await running.port()
  await running.line('generation ready')
  t.equal(readFileSync(file, 'utf8'), '1\n')
  const init = initOf(running)
  const run = (...[program, ...words]: string[]) =>
    spawnSync(program!, words, { encoding: 'utf8', env: cleanEnvironment() })
  const enter = ['nsenter', '--target', `${init}`, '--pid', '--mount']
  const inside = (word: string, ...flags: string[]) =>
    run(...enter, process.execPath, cli, word, '1', ...flags)
  const outside = (word: string) => run(process.execPath, cli, word, `${init}`)
  t.match(JSON.parse(inside('status', '--json').stdout), { pid: 1, directory: running.directory })
  t.equal(inside('reload').status, 0)
  t.match(outside('status').stdout, /^pid +1\n/)
  t.equal(outside('stop').status, 0)
  t.same(await running.exit(), { code: 0, signal: null })
  t.notOk(existsSync(file))
})
