import path from 'node:path'
import type { CommandLine } from '../supervisor/command-line.js'
import { systemdVariables } from '../systemd/sockets.js'
import type { Mode } from './plan.js'
import type { Start } from './server.js'

type Run = Extract<CommandLine, { command: 'run' }>

export interface Programs {
  /** `graceful-upgrade` itself. */
  readonly program: string
  /** `announce.ts` as it was built, which is loaded into each process of the application. */
  readonly announcer: string
}

/**
 * How the application is started: supervised, with the options that were given. What it is compared with is the application alone, as
 * one would start it without a master, unless it has several workers.
 */
export function startOf(run: Run, mode: Mode, { program, announcer }: Programs): Start {
  const env: NodeJS.ProcessEnv = { ...process.env, ...run.environment }
  // Of a service that this may run in, and of a production server on the same machine.
  for (const name of [...systemdVariables, 'GRACEFUL_UPGRADE_PID_FILE']) delete env[name]
  env.GRACEFUL_UPGRADE_CONTROL_SOCKET = 'true'
  const command = process.execPath
  const given = run.directory ?? env.GRACEFUL_UPGRADE_DIRECTORY
  const directory = path.resolve(given ?? '.')
  const isAlone =
    mode !== 'upgrade' && !run.isCommand && ['', '1'].includes(env.GRACEFUL_UPGRADE_WORKERS ?? '')
  if (isAlone) {
    for (const name of ['WORKERS', 'BALANCE', 'MAX_MEMORY', 'DIRECTORY'])
      delete env[`GRACEFUL_UPGRADE_${name}`]
    return { command, args: run.words, env: { ...env, PWD: directory }, directory, announcer, isAlone }
  }
  if (given !== undefined) env.GRACEFUL_UPGRADE_DIRECTORY = given
  const words = run.isCommand ? ['--', ...run.words] : run.words
  return { command, args: [program, ...words], env, directory: process.cwd(), announcer, isAlone }
}
