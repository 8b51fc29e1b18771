import { readFileSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { privateVariables } from './protocol.js'

/** How the next generation is started: what a restart of the service would run. */
export interface RestartContext {
  readonly command: string
  readonly args: readonly string[]
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

/** What is read from the process and its host; an object, so that a test can be another process. */
export interface RestartEnvironment {
  readonly execPath: string
  readonly argv0: string
  readonly argv: readonly string[]
  readonly execArgv: readonly string[]
  readonly env: NodeJS.ProcessEnv
  cwd(): string
  /** The environment at the start of the process, `NAME=value` joined by NUL; throws where there is none. */
  initialEnvironment(): string
  /** The path without symbolic links; throws where there is no such file. */
  realpath(path: string): string
}

export const thisProcess: RestartEnvironment = {
  execPath: process.execPath,
  argv0: process.argv0,
  argv: process.argv,
  execArgv: process.execArgv,
  env: process.env,
  cwd: () => process.cwd(),
  initialEnvironment: () => readFileSync('/proc/self/environ', 'latin1'),
  realpath: file => realpathSync(file)
}

/**
 * Takes the context as it is now: to be called before the application has changed its directory or environment.
 * Paths stay as the shell saw them, symbolic links included, so that flipping `current -> releases/42` is a
 * deployment.
 */
export function captureRestartContext(from: RestartEnvironment = thisProcess): RestartContext {
  const environment = startEnvironment(from)
  const directory = startDirectory(from, environment)
  const [, script, ...rest] = from.argv
  const flags = from.execArgv.map(onFreePort)
  if (environment.NODE_OPTIONS !== undefined) {
    environment.NODE_OPTIONS = environment.NODE_OPTIONS.split(' ').map(onFreePort).join(' ')
  }
  return {
    command: startCommand(from, environment, directory),
    args: script === undefined ? flags : [...flags, throughLinks(script, from.cwd(), directory), ...rest],
    directory,
    environment
  }
}

/**
 * The environment that the process was started with, not `process.env` as `--env-file`, dotenv or the
 * application have changed it since: an edited .env takes effect. Only Linux tells; elsewhere it is a copy.
 */
function startEnvironment({ env, initialEnvironment }: RestartEnvironment): NodeJS.ProcessEnv {
  const environment: NodeJS.ProcessEnv = {}
  try {
    for (const entry of Buffer.from(initialEnvironment(), 'latin1').toString('utf8').split('\0')) {
      const equals = entry.indexOf('=', 1)
      if (equals > 0) environment[entry.slice(0, equals)] = entry.slice(equals + 1)
    }
  } catch {
    Object.assign(environment, env)
  }
  for (const name of privateVariables) delete environment[name]
  return environment
}

/** `PWD` is the directory as the shell saw it, and believed only if it leads to where the process is. */
function startDirectory({ cwd, realpath }: RestartEnvironment, { PWD }: NodeJS.ProcessEnv): string {
  const here = cwd()
  if (PWD === undefined || !path.isAbsolute(PWD)) return here
  return resolves(realpath, PWD) === resolves(realpath, here) ? PWD : here
}

/** Node.js has made `argv[1]` absolute with the directory behind the links; this takes that back. */
function throughLinks(script: string, here: string, directory: string): string {
  const relative = path.relative(here, script)
  return relative.startsWith('..') || path.isAbsolute(relative) ? script : path.join(directory, relative)
}

/** The Node.js binary by the name it was called by, so that a new one behind the same name is taken. */
function startCommand(from: RestartEnvironment, { PATH = '' }: NodeJS.ProcessEnv, directory: string): string {
  const candidates = from.argv0.includes('/')
    ? [path.resolve(directory, from.argv0)]
    : PATH.split(path.delimiter).map(folder => path.resolve(directory, folder, from.argv0))
  const binary = resolves(from.realpath, from.execPath)
  const called = candidates.find(candidate => resolves(from.realpath, candidate) !== undefined)
  return called !== undefined && resolves(from.realpath, called) === binary ? called : from.execPath
}

function resolves(realpath: RestartEnvironment['realpath'], file: string): string | undefined {
  try {
    return realpath(file)
  } catch {
    return undefined
  }
}

/**
 * `--inspect=HOST:PORT` on a free port, as the old generation still has the other; and without waiting for a
 * debugger (`--inspect-brk`, `--inspect-wait`), as nobody would be there to go on before `readyTimeout`.
 */
function onFreePort(flag: string): string {
  const match = /^--inspect(?:-brk|-wait)?(?:=(.*))?$/.exec(flag)
  if (match) {
    const address = match[1] ?? ''
    const host = /^\d*$/.test(address) ? '' : address.replace(/:\d+$/, '')
    return `--inspect=${host === '' ? '' : `${host}:`}0`
  }
  return /^--(?:inspect|debug)-port=/.test(flag) ? '--inspect-port=0' : flag
}
