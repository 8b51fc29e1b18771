import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { optionsOfEnvironment, resolveOptions } from '../../../lib/options.js'
import type { CommandLine } from '../../../lib/supervisor/command-line.js'
import { parseCommandLine } from '../../../lib/supervisor/command-line.js'
import { settingsOf } from '../../../lib/supervisor/run.js'
import { temporaryFolder } from '../../helper/folder.ts'

/** With a server in it. */
function folderWithServer(t: Test): string {
  const folder = temporaryFolder(t)
  writeFileSync(path.join(folder, 'server.js'), '')
  return folder
}

function settings(words: string[], directory: string, environment: NodeJS.ProcessEnv = {}) {
  const line = parseCommandLine(words) as Extract<CommandLine, { command: 'run' }>
  return settingsOf(line, { command: '/bin/node', args: [], directory, environment })
}

t.test('a script is run by the same Node.js, in its directory', t => {
  const folder = folderWithServer(t)
  const { context } = settings(['--no-warnings', 'server', '--port=1'], folder, { NAME: 'value' })
  t.same(context(1), {
    command: '/bin/node',
    args: ['--no-warnings', 'server', '--port=1'],
    main: 1,
    directory: folder,
    environment: { NAME: 'value', PWD: folder }
  })
  t.end()
})

t.test('later generations have a free port for the debugger, and the application’s own words stay', t => {
  const folder = folderWithServer(t)
  const { context } = settings(['--inspect=9230', 'server.js', '--inspect=9230'], folder)
  t.same(context(1).args, ['--inspect=9230', 'server.js', '--inspect=9230'])
  t.same(context(2).args, context(3).args)
  t.notSame(context(2).args[0], '--inspect=9230')
  t.same(context(2).args.slice(1), ['server.js', '--inspect=9230'])
  t.end()
})

t.test('a command is looked for among those of the package first', t => {
  const folder = temporaryFolder(t)
  const local = path.join(folder, 'node_modules', '.bin')
  const { context } = settings(['--', 'tsx', 'server.ts'], folder, { PATH: '/bin' })
  const { command, args, environment } = context(1)
  t.same({ command, args }, { command: 'tsx', args: ['server.ts'] })
  t.equal(environment.PATH, `${local}:/bin`)
  t.equal(settings(['--', 'tsx'], folder).context(1).environment.PATH, local)
  t.end()
})

t.test('words win over the environment, and both are what the application is told', t => {
  const folder = folderWithServer(t)
  const sub = path.join(folder, 'sub')
  mkdirSync(sub)
  writeFileSync(path.join(sub, 'server.js'), '')
  const environment = {
    GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '5',
    GRACEFUL_UPGRADE_PID_FILE: 'env.pid',
    GRACEFUL_UPGRADE_DIRECTORY: 'missing',
    LISTEN_FDS: '1'
  }
  const words = ['--drain-timeout=7', '--pid-file=words.pid', '--directory=sub', 'server.js']
  const { options, pidFile, context } = settings(words, folder, environment)
  t.equal(options.drainTimeout, 7)
  t.equal(pidFile, 'words.pid')
  t.equal(context(1).directory, sub)
  t.equal(context(1).environment.GRACEFUL_UPGRADE_DRAIN_TIMEOUT, '7')
  t.notOk('LISTEN_FDS' in context(1).environment, 'what systemd opened is the master’s')
  t.equal(
    settings(['server.js'], folder, { ...environment, GRACEFUL_UPGRADE_DIRECTORY: 'sub' }).pidFile,
    'env.pid'
  )
  t.end()
})

t.test(
  'what the environment says counts where no word does, and wins over the code of the application',
  t => {
    const folder = folderWithServer(t)
    const environment = { GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '100' }
    const { options, context } = settings(['server.js'], folder, environment)
    t.equal(options.drainTimeout, 100)
    const told = optionsOfEnvironment(context(1).environment)
    t.equal(resolveOptions({ drainTimeout: 30_000 }, told).drainTimeout, 100, 'in the worker, too')
    t.end()
  }
)

t.test('a directory behind a link is the link, which may lead elsewhere by the next start', t => {
  const folder = folderWithServer(t)
  const current = path.join(folder, 'current')
  symlinkSync('.', current)
  t.equal(settings(['--directory', current, 'server.js'], '/').context(1).directory, current)
  t.equal(settings(['--directory', 'current', 'server.js'], folder).context(2).directory, current)
  t.end()
})

t.test(
  'the workers are the master’s business, and the application is told of them as they were asked for',
  t => {
    const folder = folderWithServer(t)
    const environment = { GRACEFUL_UPGRADE_WORKERS: '3', GRACEFUL_UPGRADE_HANDOVER: 'false' }
    const { team, context } = settings(['--workers=2', '--max-memory=1G', 'server.js'], folder, environment)
    t.same(team, { workers: 2, isAsked: true, balance: false, maxMemory: 2 ** 30 })
    t.equal(context(2).environment.GRACEFUL_UPGRADE_WORKERS, '2')
    t.notOk(
      'GRACEFUL_UPGRADE_MAX_MEMORY' in context(2).environment,
      'nor are children of a worker that has no number'
    )
    t.equal(settings(['server.js'], folder, environment).team.workers, 3)
    t.end()
  }
)

t.test('what is not there, or not allowed, is named', t => {
  const folder = folderWithServer(t)
  const usage = (message: string) => ({ code: 'GRACEFUL_UPGRADE_USAGE', message })
  t.throws(() => settings(['missing.js'], folder), usage(`no such file: ${folder}/missing.js`))
  t.throws(() => settings(['--directory=a', 'server.js'], folder), usage(`no such directory: ${folder}/a`))
  t.throws(() => settings(['--directory=server.js', 'server.js'], folder), usage('no such directory'))
  for (const [option, message] of [
    ['--workers=0', /workers must be a number from 1 to 1024, or auto, but is 0/],
    ['--balance=yes', /balance must be true or false, but is yes/],
    ['--max-memory=much', /maxMemory must be a size .*, but is much/]
  ] as const)
    t.throws(() => settings([option, 'server.js'], folder), { code: 'GRACEFUL_UPGRADE_USAGE', message })
  for (const [words, message] of [
    ['--drain-timeout soon', /drainTimeout must be .* but is 'soon'/],
    ['--handover=some', /handover must be .* but is 'some'/],
    ['--reload-signal HUP', /reloadSignal must be .* but is 'HUP'/],
    ['--reload-signal=SIGTERM', /must not contain the reloadSignal/]
  ] as const) {
    const code = 'GRACEFUL_UPGRADE_INVALID_OPTION'
    t.throws(() => settings([...words.split(' '), 'server.js'], folder), { code, message })
  }
  t.end()
})
