import { readFileSync, realpathSync } from 'node:fs'
import { delimiter, isAbsolute, resolve } from 'node:path'
import { privateVariables } from '../protocol/inheritance.js'
import { onFreePorts } from './node-flags.js'

/** How the next generation is started: what a restart of the service would run. */
export interface RestartContext {
  readonly command: string
  readonly args: readonly string[]
  /** Which of them is the script, where that is known. */
  readonly main?: number
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

/** What is read from the process and its host; an object, so that a test can be another process. */
export interface RestartEnvironment {
  readonly execPath: string
  readonly execArgv: readonly string[]
  /** Whether `execPath` is a single executable application: Node.js and the program in one file. */
  readonly isSea: boolean
  /** `process.argv[1]`: the script, absolute, if there is one. */
  readonly script?: string | undefined
  readonly env: NodeJS.ProcessEnv
  cwd(): string
  /** The words that the process was started with, its own name first. */
  commandLine(): readonly string[]
  /** The environment at the start of the process, `NAME=value` joined by NUL; throws where there is none. */
  initialEnvironment(): string
  /** The path without symbolic links; throws where there is no such file. */
  realpath(path: string): string
}

const isSea = process.getBuiltinModule?.('node:sea')?.isSea() ?? false

export const hostProcess: RestartEnvironment = {
  execPath: process.execPath,
  execArgv: process.execArgv,
  isSea,
  script: process.argv[1],
  env: process.env,
  cwd: () => process.cwd(),
  commandLine,
  initialEnvironment: () => readFileSync('/proc/self/environ', 'latin1'),
  realpath: file => realpathSync.native(file)
}

/**
 * Takes the context as it is now: to be called before the application has changed its directory or environment.
 * Paths stay as the shell saw them, symbolic links included, so that flipping `current -> releases/42` is a
 * deployment.
 */
export function captureRestartContext(from: RestartEnvironment = hostProcess): RestartContext {
  const environment = startEnvironment(from)
  const [name = from.execPath, ...words] = from.commandLine()
  // An executable brings its flags along, and Node.js puts its name once more where a script's would be.
  const flags = from.isSea ? [] : onFreePorts(words.slice(0, from.execArgv.length))
  const rest = words.slice(from.execArgv.length + (from.isSea ? 1 : 0))
  const directory = startDirectory(from, environment, rest)
  if (environment.NODE_OPTIONS !== undefined) {
    environment.NODE_OPTIONS = onFreePorts(environment.NODE_OPTIONS.split(' ')).join(' ')
  }
  return {
    command: startCommand(name, from, environment, directory),
    args: [...flags, ...withScript(from, rest, directory)],
    ...(hasScript(from) && { main: flags.length + scriptIndex(rest) }),
    directory,
    environment
  }
}

/**
 * On Linux the system has it. Elsewhere, or where the application has written its title over it, that takes 5 ms; so it
 * does in a single executable, of which Node.js tells the name twice.
 */
function commandLine(): readonly string[] {
  const { execArgv, argv } = process
  if (isSea) return commandLineOfReport()
  try {
    const words = readFileSync('/proc/self/cmdline', 'utf8').split('\0').slice(0, -1)
    const isWhole = words.length > execArgv.length + (argv.length > 1 ? 1 : 0)
    if (isWhole && !words.includes('')) return words
  } catch {} // there is no such file
  return commandLineOfReport()
}

/**
 * The diagnostic report has it on every system. `process.argv` is not the same: its script is made absolute with
 * the directory behind the links, and programs change it (fastify-cli takes its arguments off).
 */
function commandLineOfReport(): readonly string[] {
  const { report, argv0, execArgv, argv } = process
  if (report === undefined) return [argv0, ...execArgv, ...argv.slice(1)]
  const settings = report as { excludeNetwork?: boolean } // saves time; since Node.js 22
  const { excludeNetwork } = settings
  settings.excludeNetwork = true
  const { header } = report.getReport() as { header: { commandLine: string[] } }
  if (excludeNetwork !== undefined) settings.excludeNetwork = excludeNetwork
  return header.commandLine
}

/**
 * The environment that the process was started with, not `process.env` as `--env-file`, dotenv or the
 * application have changed it since: an edited .env takes effect. Only Linux tells; elsewhere it is a copy.
 */
export function startEnvironment({ env, initialEnvironment }: RestartEnvironment): NodeJS.ProcessEnv {
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
  forgetPlace(environment)
  return environment
}

/** Which worker of a lost master this was says nothing of those that it starts itself. */
function forgetPlace(environment: NodeJS.ProcessEnv): void {
  const { GRACEFUL_UPGRADE_WORKER: worker, NODE_APP_INSTANCE } = environment
  if (worker === undefined) return
  delete environment.GRACEFUL_UPGRADE_WORKER
  if (NODE_APP_INSTANCE === worker) delete environment.NODE_APP_INSTANCE
}

/**
 * `PWD` is the directory as the shell saw it, and believed only if it leads to where the process is; or, where the
 * application has gone elsewhere since, to the script.
 */
function startDirectory(
  from: RestartEnvironment,
  { PWD }: NodeJS.ProcessEnv,
  rest: readonly string[]
): string {
  const here = from.cwd()
  if (PWD === undefined || !isAbsolute(PWD)) return here
  const isHere = resolves(from.realpath, PWD) === resolves(from.realpath, here)
  // From everywhere leads an absolute script: whoever starts a process elsewhere may leave it a PWD of its own.
  const tells = !from.isSea && !isAbsolute(rest[scriptIndex(rest)] ?? '')
  return isHere || (tells && leadsToScript(from, rest, PWD)) ? PWD : here
}

/** Not where code is given as a word, or comes by standard input. */
function hasScript({ isSea, script }: RestartEnvironment): boolean {
  return !isSea && script !== undefined && isAbsolute(script)
}

/** The words behind the flags, with a script that can be found from this directory. */
function withScript(from: RestartEnvironment, rest: readonly string[], directory: string): readonly string[] {
  const { script } = from
  if (script === undefined || !hasScript(from) || leadsToScript(from, rest, directory)) return rest
  if (rest[scriptIndex(rest)] === undefined) return rest // in a worker thread, whose flags are not the process's
  return resolves(from.realpath, script) === undefined ? rest : rest.with(scriptIndex(rest), script)
}

function leadsToScript(
  { realpath, script }: RestartEnvironment,
  rest: readonly string[],
  from: string
): boolean {
  const word = rest[scriptIndex(rest)]
  if (word === undefined || script === undefined) return false
  // Node.js adds the ending where it is left out.
  return ['', '.js', '.cjs', '.mjs'].some(ending => {
    const found = resolves(realpath, resolve(from, word + ending))
    return found !== undefined && [script, script + ending].some(file => resolves(realpath, file) === found)
  })
}

function scriptIndex(rest: readonly string[]): number {
  return rest[0] === '--' ? 1 : 0
}

/** The Node.js binary by the name it was called by, so that a new one behind the same name is taken. */
function startCommand(
  name: string,
  { execPath, realpath }: RestartEnvironment,
  { PATH = '' }: NodeJS.ProcessEnv,
  directory: string
): string {
  const folders = name.includes('/') ? [''] : PATH.split(delimiter)
  for (const folder of folders) {
    const called = isAbsolute(name) ? name : resolve(directory, folder, name)
    const found = resolves(realpath, called)
    if (found !== undefined) return found === resolves(realpath, execPath) ? called : execPath
  }
  return execPath
}

function resolves(realpath: RestartEnvironment['realpath'], file: string): string | undefined {
  try {
    return realpath(file)
  } catch {
    return undefined
  }
}
