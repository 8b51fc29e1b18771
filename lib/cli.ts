#!/usr/bin/env node
import { existsSync, readFileSync, statSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { type CommandLine, parseCommandLine } from './command-line.js'
import { GracefulUpgradeError } from './errors.js'
import { becomeInit, isUnderInit } from './init.js'
import { onFreePorts } from './node-flags.js'
import { optionsOfEnvironment, resolveOptions } from './options.js'
import {
  captureRestartContext,
  type RestartContext,
  startEnvironment,
  thisProcess
} from './restart-context.js'
import { systemdVariables } from './systemd-listeners.js'
import { version } from './version.js'

type Run = Extract<CommandLine, { command: 'run' }>

void main().catch(error => {
  if (!(error instanceof GracefulUpgradeError)) throw error
  process.stderr.write(`graceful-upgrade: ${error.message} (${error.code})\n`)
  process.exit(error.code === 'GRACEFUL_UPGRADE_USAGE' ? 2 : 1)
})

async function main(): Promise<void> {
  const line = parseCommandLine(process.argv.slice(2))
  switch (line.command) {
    case 'help':
      return void process.stdout.write((await import('./help.js')).help)
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
  const words = [...execArgv, ...argv.slice(1)]
  const pid = isUnderInit() ? 1 : process.pid // by which others know the service
  const own = captureRestartContext({
    ...thisProcess,
    script: undefined, // this program's own says nothing about where the server is
    commandLine: () => [argv0, ...words],
    initialEnvironment: () => readFileSync(`/proc/${pid}/environ`, 'latin1')
  })
  const whyNoInit =
    process.pid === 1 ? becomeInit([own.command, ...words], startEnvironment(thisProcess)) : undefined
  const environment = { ...own.environment, ...line.environment }
  for (const name of systemdVariables) delete environment[name]
  const options = resolveOptions(optionsOfEnvironment(environment))
  const pidFile = line.pidFile ?? environment.GRACEFUL_UPGRADE_PID_FILE
  const given = line.directory ?? environment.GRACEFUL_UPGRADE_DIRECTORY
  const directory = given === undefined ? own.directory : resolve(own.directory, given)
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) throw notFound('directory', directory)

  const { supervise } = await import('./supervisor.js')
  const start = line.isCommand
    ? commandStart(line, environment, directory)
    : scriptStart(line, own, directory)
  const context = { ...start, environment: { ...environment, PWD: directory }, directory }
  const flags = line.isCommand ? 0 : line.main
  const later = { ...context, args: [...onFreePorts(start.args.slice(0, flags)), ...start.args.slice(flags)] }
  await supervise({
    context: generation => (generation === 1 ? context : later),
    options,
    pidFile,
    pid,
    whyNoInit
  })
}

type Start = Pick<RestartContext, 'command' | 'args'>

function scriptStart({ words, main }: Run, { command }: RestartContext, directory: string): Start {
  const file = resolve(directory, words[main] ?? '')
  if (!['', '.js', '.cjs', '.mjs', '.json'].some(ending => existsSync(file + ending)))
    throw notFound('file', file)
  return { command, args: words }
}

/** As in npm's scripts, the package's own commands come first. */
function commandStart({ words }: Run, environment: NodeJS.ProcessEnv, directory: string): Start {
  const [command = '', ...args] = words
  const local = join(directory, 'node_modules', '.bin')
  environment.PATH = environment.PATH === undefined ? local : `${local}${delimiter}${environment.PATH}`
  return { command, args }
}

function notFound(what: string, where: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', `no such ${what}: ${where}`)
}
