import { existsSync, statSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { GracefulUpgradeError } from '../errors.js'
import { checkFlags, onFreePorts } from '../master/node-flags.js'
import { captureRestartContext, hostProcess, type RestartContext } from '../master/restart-context.js'
import { variableOf } from '../options/supervised.js'
import { optionsOfEnvironment, resolveOptions } from '../options.js'
import { systemdVariables } from '../systemd/sockets.js'
import type { CommandLine } from './command-line.js'
import type { SupervisorSettings } from './supervisor.js'
import { teamOf } from './workers.js'

type Run = Extract<CommandLine, { command: 'run' }>

export async function run(line: Run): Promise<void> {
  if (process.platform === 'win32') {
    throw new GracefulUpgradeError(
      'GRACEFUL_UPGRADE_UNSUPPORTED',
      'Windows cannot pass a listening socket on to another process: run the server by node itself'
    )
  }
  const { argv0, execArgv, argv } = process
  const own = captureRestartContext({
    ...hostProcess,
    script: undefined, // this program's own says nothing about where the server is
    commandLine: () => [argv0, ...execArgv, ...argv.slice(1)]
  })
  const settings = settingsOf(line, own)
  const { supervise } = await import('./supervisor.js')
  await supervise(settings)
}

/**
 * @param own how this program itself was started: its environment, and its directory
 * @throws GRACEFUL_UPGRADE_USAGE, GRACEFUL_UPGRADE_INVALID_OPTION
 */
export function settingsOf(line: Run, own: RestartContext): SupervisorSettings {
  const environment = { ...own.environment, ...line.environment }
  for (const name of systemdVariables) delete environment[name]
  const options = resolveOptions(optionsOfEnvironment(environment))
  const team = teamOf(environment, options)
  // They say nothing to a worker; and a child of it that finds them would be a server that nobody supervises, and refuse them.
  for (const option of ['balance', 'maxMemory']) delete environment[variableOf(option)]
  const pidFile = line.pidFile ?? environment.GRACEFUL_UPGRADE_PID_FILE
  const given = line.directory ?? environment.GRACEFUL_UPGRADE_DIRECTORY
  const directory = given === undefined ? own.directory : resolve(own.directory, given)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) throw notFound('directory', directory)

  const place = { command: own.command, directory, environment }
  const start = line.isCommand ? commandStart(line, place) : scriptStart(line, place)
  const context = { ...start, environment: { ...environment, PWD: directory }, directory }
  const flags = line.isCommand ? 0 : line.main
  const later = { ...context, args: [...onFreePorts(start.args.slice(0, flags)), ...start.args.slice(flags)] }
  return { context: generation => (generation === 1 ? context : later), options, pidFile, team }
}

type Place = Omit<RestartContext, 'args'>

type Start = Pick<RestartContext, 'command' | 'args' | 'main'>

function scriptStart({ words, main }: Run, place: Place): Start {
  checkFlags(words.slice(0, main), place)
  const file = resolve(place.directory, words[main] ?? '')
  if (!['', '.js', '.cjs', '.mjs', '.json'].some(ending => existsSync(file + ending)))
    throw notFound('file', file)
  return { command: place.command, args: words, main }
}

/** As in npm's scripts, the package's own commands come first. */
function commandStart({ words }: Run, { directory, environment }: Place): Start {
  const [command = '', ...args] = words
  const local = join(directory, 'node_modules', '.bin')
  environment.PATH = environment.PATH === undefined ? local : `${local}${delimiter}${environment.PATH}`
  return { command, args }
}

function notFound(what: string, where: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', `no such ${what}: ${where}`)
}
