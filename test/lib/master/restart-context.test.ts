import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  captureRestartContext,
  hostProcess,
  type RestartEnvironment
} from '../../../lib/master/restart-context.js'
import { compile } from '../../helper/compile.ts'
import { temporaryFolder } from '../../helper/folder.ts'
import { cleanEnvironment } from '../../helper/server.ts'

/** The files of a host; a link leads to what it names. */
const files: Record<string, string> = {
  '/srv/releases/42': '/srv/releases/42',
  '/srv/current': '/srv/releases/42',
  '.': '/srv/releases/42',
  '/srv/releases/41': '/srv/releases/41',
  '/opt/node-20/bin/node': '/opt/node-20/bin/node',
  '/usr/bin/node': '/opt/node-20/bin/node',
  '/usr/bin/nodejs': '/opt/node-20/bin/node',
  '/opt/node-18/bin/node': '/opt/node-18/bin/node',
  '/srv/releases/42/bin/node': '/opt/node-20/bin/node',
  '/srv/current/bin/node': '/opt/node-20/bin/node',
  '/srv/releases/42/app': '/srv/releases/42/app',
  '/srv/current/app': '/srv/releases/42/app'
}

type Given = Partial<RestartEnvironment> & {
  /** What Node.js was called by. */
  readonly name?: string
  /** What stands behind that and the flags. */
  readonly words?: readonly string[]
  /** Of the start of the process. */
  readonly environment?: NodeJS.ProcessEnv | string
}

/** `node server.js` in /srv/releases/42, unless something else is given. */
function capture({ environment = {}, name = 'node', words = ['server.js'], ...given }: Given = {}) {
  return captureRestartContext({
    execPath: '/opt/node-20/bin/node',
    execArgv: [],
    isSea: false,
    commandLine: () => [name, ...(given.execArgv ?? []), ...words],
    env: {},
    cwd: () => '/srv/releases/42',
    initialEnvironment: () => (typeof environment === 'string' ? environment : initial(environment)),
    realpath(file) {
      const real = files[file]
      if (real === undefined) throw new Error(`ENOENT: ${file}`)
      return real
    },
    ...given
  })
}

/** As Linux shows it: bytes, NUL behind each entry. */
function initial(environment: NodeJS.ProcessEnv): string {
  const text = Object.entries(environment).map(([name, value]) => `${name}=${value}\0`)
  return Buffer.from(text.join(''), 'utf8').toString('latin1')
}

t.test('the next generation is started with the same words', async t => {
  const execArgv = ['--enable-source-maps', '--import', 'tsx']
  const words = ['server.js', '--port', '3000', 'a b', '', '--inspect=9229', '--', '-x']
  const { command, args, directory } = capture({ execArgv, words })
  t.equal(command, '/opt/node-20/bin/node')
  t.equal(directory, '/srv/releases/42')
  t.same(args, [...execArgv, ...words])
})

t.test('which of them is the script is known, where there is one', async t => {
  const script = '/srv/releases/42/server.js'
  const which = (given: Given) => {
    const { args, main } = capture({ script, ...given })
    return main === undefined ? undefined : args[main]
  }
  t.equal(which({}), 'server.js')
  t.equal(which({ execArgv: ['--import', 'tsx'], words: ['current/server.js', 'a'] }), 'current/server.js')
  t.equal(which({ words: ['--', 'server.js'] }), 'server.js')
  t.equal(which({ script: undefined, execArgv: ['--eval', '1'], words: [] }), undefined)
  t.equal(which({ script: 'a', execArgv: ['--eval', '1'], words: ['a'] }), undefined, 'a word of code')
  t.equal(which({ isSea: true }), undefined)
})

t.test('the directory stays behind the symbolic link that the shell was in', async t => {
  const { directory, args } = capture({ environment: { PWD: '/srv/current' } })
  t.equal(directory, '/srv/current')
  t.same(args, ['server.js'], 'and with it the script')
})

t.test('a PWD that leads elsewhere, or nowhere, is not believed', async t => {
  for (const PWD of ['/srv/releases/41', '/gone', 'srv/current', '.', '']) {
    const { directory, args } = capture({ environment: { PWD } })
    t.equal(directory, '/srv/releases/42', PWD)
    t.same(args, ['server.js'], PWD)
  }
})

t.test('a PWD that leads elsewhere is not believed for a script that is found from everywhere', async t => {
  const script = '/srv/releases/42/server.js'
  const realpath = (file: string) => (file === script ? script : (files[file] ?? file))
  const { directory } = capture({
    environment: { PWD: '/srv/releases/41' },
    words: [script],
    script,
    realpath
  })
  t.equal(directory, '/srv/releases/42')
})

t.test('the PWD of the start counts, not what the application has made of it', async t => {
  t.equal(capture({ env: { PWD: '/srv/current' } }).directory, '/srv/releases/42')
})

t.test('a directory that has been removed is still the directory', async t => {
  const { directory } = capture({ cwd: () => '/srv/releases/40', environment: { PWD: '/srv/current' } })
  t.equal(directory, '/srv/releases/40')
})

t.test('a script is named as it was', async t => {
  for (const script of [
    './server',
    'dist/server.js',
    '../42/server.js',
    '/srv/current/server.js',
    '/gone.js'
  ]) {
    for (const PWD of ['/srv/current', '/srv/releases/42']) {
      t.same(capture({ environment: { PWD }, words: [script, 'x'] }).args, [script, 'x'])
    }
  }
})

t.test('a single executable application gets the words that it was given, and no more', async t => {
  const app = '/srv/current/app'
  for (const name of ['./app', app]) {
    // What Node.js 20 to 26 report: in the place of a script it is the name once more, and `script` is that.
    const given = { name, script: name, execPath: '/srv/releases/42/app', isSea: true }
    for (const execArgv of [[], ['--no-warnings', '--max-old-space-size=256']]) {
      for (const words of [[], ['--port', '3000'], ['/srv/releases/42']]) {
        const environment = { PWD: '/srv/current' }
        const { command, args, directory } = capture({
          ...given,
          execArgv,
          environment,
          words: [name, ...words]
        })
        t.same({ command, args, directory }, { command: app, args: words, directory: '/srv/current' })
      }
    }
  }
})

t.test('without a script there are the flags, and the words behind them', async t => {
  const execArgv = ['--eval', 'serve()']
  t.same(capture({ execArgv, words: [] }).args, ['--eval', 'serve()'])
  t.same(capture({ execArgv, words: ['one', '/two'] }).args, ['--eval', 'serve()', 'one', '/two'])
  t.same(capture({ execArgv, words: ['--', '--one'] }).args, ['--eval', 'serve()', '--', '--one'])
})

t.test('in a worker thread, whose flags are not those of its process, nothing fails', async t => {
  const execArgv = ['--conditions', 'node', '--no-warnings']
  const script = '/srv/releases/42/app'
  const { args } = capture({ execArgv, script, commandLine: () => ['node', 'app'] })
  t.same(args, ['app'])
})

t.test('Node.js is started by the name it was called by', async t => {
  const PATH = '/nowhere:/usr/bin:/opt/node-20/bin'
  t.equal(capture({ environment: { PATH } }).command, '/usr/bin/node', 'a bare name, in the PATH')
  t.equal(capture({ environment: { PATH }, name: 'nodejs' }).command, '/usr/bin/nodejs', 'another name')
  t.equal(capture({ name: '/usr/bin/node' }).command, '/usr/bin/node', 'a path')
  t.equal(capture({ name: 'bin/node' }).command, '/srv/releases/42/bin/node', 'a relative path')
  const environment = { PWD: '/srv/current', PATH: 'bin' }
  t.equal(capture({ environment, name: './bin/node' }).command, '/srv/current/bin/node', 'through links')
  t.equal(capture({ environment }).command, '/srv/current/bin/node', 'in a relative folder of the PATH')
})

t.test('a name that leads to another binary, or to none, is not believed', async t => {
  const execPath = '/opt/node-20/bin/node'
  t.equal(capture({ environment: { PATH: '/opt/node-18/bin:/usr/bin' } }).command, execPath)
  t.equal(capture({ name: '/opt/node-18/bin/node' }).command, execPath)
  t.equal(capture({ environment: { PATH: '/usr/bin' }, name: 'my-server' }).command, execPath)
  t.equal(capture({ environment: { PATH: '/usr/bin' }, name: '/gone/node' }).command, execPath)
  t.equal(capture({ environment: {} }).command, execPath, 'no PATH at all')
  t.equal(capture({ env: { PATH: '/usr/bin' } }).command, execPath, 'the PATH that the application has set')
})

t.test('a binary that is gone is started by its path all the same', async t => {
  const { command } = capture({ execPath: '/gone/node', environment: { PATH: '/usr/bin' } })
  t.equal(command, '/gone/node')
})

t.test('the environment is the one of the start, to the byte', async t => {
  const environment = {
    A: '1',
    EMPTY: '',
    EQUALS: 'a=b==c=',
    LINES: 'one\ntwo',
    SPACES: '  x  ',
    UTF8: 'Grüße, 世界 🚀',
    ÄÖÜ: 'a name'
  }
  t.same(capture({ environment, env: { A: '2', DOTENV: 'x' } }).environment, environment)
})

t.test('which worker of a lost master a process was says nothing of those that it starts', async t => {
  const place = { GRACEFUL_UPGRADE_WORKER: '1', NODE_APP_INSTANCE: '1', GRACEFUL_UPGRADE_WORKERS: '2' }
  t.same(capture({ environment: place }).environment, { GRACEFUL_UPGRADE_WORKERS: '2' })
  const own = { NODE_APP_INSTANCE: '1' }
  t.same(capture({ environment: own }).environment, own, "the application's own stays")
})

t.test('what is no NAME=value is left out', async t => {
  t.same(capture({ environment: 'A=1\0\0nothing\0=nameless\0B=2' }).environment, { A: '1', B: '2' })
  t.same(
    capture({ environment: '=C:=C:\\\0' }).environment,
    { '=C:': 'C:\\' },
    'a name begins with = on Windows'
  )
  t.same(capture({ environment: '' }).environment, {})
})

t.test('where the start is not told, it is a copy of the environment of now', async t => {
  const env = { A: '1', PWD: '/srv/current', PATH: '/usr/bin' }
  const context = capture({
    env,
    initialEnvironment() {
      throw new Error('ENOENT')
    }
  })
  t.same(context.environment, { A: '1', PWD: '/srv/current', PATH: '/usr/bin' })
  t.equal(context.directory, '/srv/current')
  t.equal(context.command, '/usr/bin/node')
  env.A = '2'
  t.equal(context.environment.A, '1')
})

t.test('what is between a master and its worker is not passed on', async t => {
  const secret = {
    FASTIFY_GRACEFUL_UPGRADE: '{}',
    NODE_CHANNEL_FD: '3',
    NODE_CHANNEL_SERIALIZATION_MODE: 'json'
  }
  t.same(capture({ environment: { A: '1', ...secret } }).environment, { A: '1' })
})

const inspector = {
  '--inspect': '--inspect=0',
  '--inspect=': '--inspect=0',
  '--inspect=9229': '--inspect=0',
  '--inspect=0': '--inspect=0',
  '--inspect=127.0.0.1': '--inspect=127.0.0.1:0',
  '--inspect=127.0.0.1:9229': '--inspect=127.0.0.1:0',
  '--inspect=localhost:9229': '--inspect=localhost:0',
  '--inspect=[::1]': '--inspect=[::1]:0',
  '--inspect=[::1]:9229': '--inspect=[::1]:0',
  '--inspect-brk': '--inspect=0',
  '--inspect-brk=9230': '--inspect=0',
  '--inspect-brk=0.0.0.0:9230': '--inspect=0.0.0.0:0',
  '--inspect-wait': '--inspect=0',
  '--inspect-wait=[::1]:9230': '--inspect=[::1]:0',
  '--inspect-port=9230': '--inspect-port=0',
  '--debug-port=9230': '--inspect-port=0'
}

for (const [flag, expected] of Object.entries(inspector)) {
  t.test(`${flag} becomes ${expected}, as the old generation still has its port`, async t => {
    const { args, environment } = capture({
      execArgv: ['--no-warnings', flag, '--import', 'tsx'],
      environment: { NODE_OPTIONS: `--no-warnings ${flag} --import tsx` }
    })
    t.same(args, ['--no-warnings', expected, '--import', 'tsx', 'server.js'])
    t.equal(environment.NODE_OPTIONS, `--no-warnings ${expected} --import tsx`)
  })
}

t.test('other flags stay as they are', async t => {
  const flags = [
    '--inspect-publish-uid=http',
    '--no-inspect',
    '--max-old-space-size=512',
    '--port=9229',
    '-r',
    './inspect.js',
    '--title=my --inspect'
  ]
  t.same(capture({ execArgv: flags }).args, [...flags, 'server.js'])
  const NODE_OPTIONS = '--require "./a b.js"  --max-old-space-size=512'
  t.equal(capture({ environment: { NODE_OPTIONS } }).environment.NODE_OPTIONS, NODE_OPTIONS)
})

t.test('without NODE_OPTIONS there are none', async t => {
  t.notOk('NODE_OPTIONS' in capture({ env: { NODE_OPTIONS: '--inspect' } }).environment)
})

t.test('a process without a name is started by its path', async t => {
  t.match(capture({ commandLine: () => [] }), { command: '/opt/node-20/bin/node', args: [] })
})

t.test('a process tells how it was started, whatever the program makes of its arguments', async t => {
  const { argv } = process
  t.teardown(() => {
    process.argv = argv
  })
  const before = captureRestartContext()
  process.argv = ['node', '/elsewhere.js']
  t.same(captureRestartContext(hostProcess), before)
  t.same(before.args.slice(0, process.execArgv.length), process.execArgv)
  t.equal(path.resolve(before.directory, before.args[process.execArgv.length]!), argv[1])
})

t.test(
  'a process tells the environment it was started with',
  { skip: process.platform !== 'linux' },
  async t => {
    t.teardown(() => delete process.env.ADDED_LATER)
    process.env.ADDED_LATER = '1'
    const { environment } = captureRestartContext()
    t.equal(environment.PATH, process.env.PATH)
    t.notOk('ADDED_LATER' in environment)
  }
)

t.test('where there is no report the arguments of now are taken', async t => {
  const report = Object.getOwnPropertyDescriptor(process, 'report')!
  t.teardown(() => Object.defineProperty(process, 'report', report))
  Object.defineProperty(process, 'report', { value: undefined, configurable: true })
  t.same(hostProcess.commandLine(), [process.argv0, ...process.execArgv, ...process.argv.slice(1)])
})

t.test('the words that a process was started with are known, whatever it has made of them', t => {
  const folder = temporaryFolder(t)
  const script = path.join(folder, 'script.mjs')
  const module = compile('master/restart-context', folder)
  const program = (first: string) => `${first}
    const { hostProcess } = await import(${JSON.stringify(module)})
    console.log(JSON.stringify(hostProcess.commandLine()))`
  const changes = [
    '',
    "process.title = 'my title'",
    "process.title = 'x'.repeat(500)",
    'process.argv.splice(1)'
  ]
  for (const first of changes) {
    for (const words of [
      ['--port=1', 'ä b'],
      ['', 'c']
    ]) {
      writeFileSync(script, program(first))
      const args = ['--no-warnings', script, ...words]
      const { stdout } = spawnSync(process.execPath, args, { env: cleanEnvironment(), encoding: 'utf8' })
      t.same(JSON.parse(stdout).slice(1), args, `${first || 'nothing'}, ${words}`)
    }
  }
  t.end()
})
