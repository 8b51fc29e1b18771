#!/usr/bin/env node
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import { type CommandLine, parseCommandLine } from './command-line.js'
import { GracefulUpgradeError } from './errors.js'
import { onFreePorts } from './node-flags.js'
import { optionsOfEnvironment, resolveOptions } from './options.js'
import { captureRestartContext, type RestartContext, thisProcess } from './restart-context.js'
import { systemdVariables } from './systemd-listeners.js'
import { version } from './version.js'

type Run = Extract<CommandLine, { command: 'run' }>

const help = `Usage: graceful-upgrade [options] [node options] server.js [arguments]
       graceful-upgrade [options] -- command [arguments]
       graceful-upgrade reload | status [--json] | stop  <pid | pid file | directory | control socket>

Runs a server that registers fastify-graceful-upgrade, and upgrades it on SIGHUP while it serves.

  --pid-file FILE        write this process's id there once the server is ready
  --directory DIR        run the server there; a symbolic link is followed anew at each upgrade
  --control-socket PATH  where reload, status and stop find this process; false for nowhere
  --ready-timeout MS     longest time until a new generation serves (60000)
  --drain-timeout MS     longest time in which the old one lets its requests finish (30000)
  --close-timeout MS     longest time of its onClose hooks (10000)
  --spread-time MS       time over which WebSockets and HTTP/2 sessions are told to end (1000)
  --idle-spread-time MS  time over which idle connections that don't move are ended; false for not at all (false)
  --claim-timeout MS     how long a new generation waits for listeners that are not asked for (5000)
  --poll-interval MS     longest pause between two looks at idle connections (500)
  --handover HOW         idle, all or false: which open connections go to the new generation (idle)
  --reload-signal NAME   the signal that upgrades (SIGHUP)
  --close-signals NAMES  the signals that drain and end everything (SIGTERM,SIGINT)
  -v, --version          -h, --help

Each option can come from the environment: GRACEFUL_UPGRADE_DRAIN_TIMEOUT=5000. They win over what the
application's code says.

Exit codes of reload, status and stop: 0, or 1 with the reason on standard error; 2 for a command line that is not
understood. The server ends with 0 when it was told to, else with the code of the generation that served last.
`

try {
  await main(parseCommandLine(process.argv.slice(2)))
} catch (error) {
  if (!(error instanceof GracefulUpgradeError)) throw error
  process.stderr.write(`graceful-upgrade: ${error.message} (${error.code})\n`)
  process.exit(error.code === 'GRACEFUL_UPGRADE_USAGE' ? 2 : 1)
}

async function main(line: CommandLine): Promise<void> {
  switch (line.command) {
    case 'help':
      return void process.stdout.write(help)
    case 'version':
      return void process.stdout.write(`${version()}\n`)
    case 'run':
      return run(line)
  }
  // Loaded only now: a master that runs for months has no use for it.
  const { runReload, runStatus, runStop } = await import('./control-commands.js')
  switch (line.command) {
    case 'reload':
      process.exitCode = await runReload(line.target, process)
      return
    case 'status':
      process.exitCode = await runStatus(line.target, line, process)
      return
    case 'stop':
      process.exitCode = await runStop(line.target, process)
  }
}

async function run(line: Run): Promise<void> {
  if (process.platform === 'win32') {
    throw new GracefulUpgradeError(
      'GRACEFUL_UPGRADE_UNSUPPORTED',
      'Windows cannot pass a listening socket on to another process: run the server by node itself'
    )
  }
  const { argv0, execArgv, argv } = process
  const own = captureRestartContext({
    ...thisProcess,
    commandLine: () => [argv0, ...execArgv, ...argv.slice(1)]
  })
  const environment = { ...own.environment, ...line.environment }
  for (const name of systemdVariables) delete environment[name]
  const options = resolveOptions(optionsOfEnvironment(environment))
  const pidFile = line.pidFile ?? environment.GRACEFUL_UPGRADE_PID_FILE
  const given = line.directory ?? environment.GRACEFUL_UPGRADE_DIRECTORY
  const directory = given === undefined ? own.directory : path.resolve(own.directory, given)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) throw notFound('directory', directory)

  const { supervise } = await import('./supervisor.js')
  const start = line.isCommand
    ? commandStart(line, environment, directory)
    : scriptStart(line, own, directory)
  const context = { ...start, environment: { ...environment, PWD: directory }, directory }
  const flags = line.isCommand ? 0 : line.main
  const later = { ...context, args: [...onFreePorts(start.args.slice(0, flags)), ...start.args.slice(flags)] }
  await supervise({ context: generation => (generation === 1 ? context : later), options, pidFile })
}

type Start = Pick<RestartContext, 'command' | 'args'>

function scriptStart({ words, main }: Run, { command }: RestartContext, directory: string): Start {
  const file = path.resolve(directory, words[main] ?? '')
  if (!['', '.js', '.cjs', '.mjs', '.json'].some(ending => existsSync(file + ending)))
    throw notFound('file', file)
  return { command, args: words }
}

/** As in npm's scripts, the package's own commands come first. */
function commandStart({ words }: Run, environment: NodeJS.ProcessEnv, directory: string): Start {
  const [command = '', ...args] = words
  const local = path.join(directory, 'node_modules', '.bin')
  environment.PATH = environment.PATH === undefined ? local : `${local}${path.delimiter}${environment.PATH}`
  return { command, args }
}

function notFound(what: string, where: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', `no such ${what}: ${where}`)
}
