import path from 'node:path'
import t from 'tap'
import { startOf } from '../../../lib/rehearsal/start.js'
import { parseCommandLine } from '../../../lib/supervisor/command-line.js'

function start(line: string, mode: 'upgrade' | 'restart' = 'upgrade') {
  const { run } = parseCommandLine(['rehearse', ...line.split(' ')]) as any
  return startOf(run, mode, { program: '/cli', announcer: '/announce.cjs' })
}

t.test('it is started supervised, with the options that were given', async t => {
  const { command, args, env, directory } = start(
    '--clients 9 --workers 2 --import=tsx server.ts --clients 1'
  )
  t.same([command, args], [process.execPath, ['/cli', '--import=tsx', 'server.ts', '--clients', '1']])
  t.match(env, { GRACEFUL_UPGRADE_WORKERS: '2', GRACEFUL_UPGRADE_CONTROL_SOCKET: 'true' })
  t.equal(directory, process.cwd())
})

t.test('a command stands behind -- there, too', async t =>
  t.same(start('-- fastify start app.js').args, ['/cli', '--', 'fastify', 'start', 'app.js'])
)

t.test('what belongs to a server in production is left alone', async t => {
  process.env.NOTIFY_SOCKET = '/run/notify'
  process.env.GRACEFUL_UPGRADE_PID_FILE = 'server.pid'
  t.teardown(() => {
    delete process.env.NOTIFY_SOCKET
    delete process.env.GRACEFUL_UPGRADE_PID_FILE
  })
  const { env } = start('--pid-file a.pid --control-socket /run/x server.js')
  t.match(env, {
    NOTIFY_SOCKET: undefined,
    GRACEFUL_UPGRADE_PID_FILE: undefined,
    GRACEFUL_UPGRADE_CONTROL_SOCKET: 'true'
  })
})

t.test('what it is compared with runs without a master, in its directory', async t => {
  const { args, env, directory } = start('--directory sub --max-memory 9G server.js a', 'restart')
  t.same([args, directory], [['server.js', 'a'], path.resolve('sub')])
  t.same([env.GRACEFUL_UPGRADE_MAX_MEMORY, env.GRACEFUL_UPGRADE_DIRECTORY], [undefined, undefined])
  t.equal(start('--workers 2 server.js', 'restart').args[0], '/cli', 'unless it has several workers')
})
