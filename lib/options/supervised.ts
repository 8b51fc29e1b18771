import { GracefulUpgradeError } from '../errors.js'

/** Options of the supervised master, which no plugin can follow; with how a server is started that has them. */
export const supervisorOptions: Readonly<Record<string, string>> = {
  workers: 'graceful-upgrade --workers 4 server.js',
  balance: 'graceful-upgrade --workers 4 --balance false server.js',
  maxMemory: 'graceful-upgrade --max-memory 512M server.js'
}

/** The variable of the environment that an option can come from: `GRACEFUL_UPGRADE_DRAIN_TIMEOUT`. */
export function variableOf(name: string): string {
  return `GRACEFUL_UPGRADE_${name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`
}

/**
 * A process that nobody supervises is alone, whatever it is told. In the children of a worker these are the worker's variables.
 * @throws GRACEFUL_UPGRADE_INVALID_OPTION where something is wanted that only a master can do
 */
export function refuseSupervision(env: NodeJS.ProcessEnv): void {
  if (env[variableOf('worker')] !== undefined) return
  for (const option of Object.keys(supervisorOptions)) {
    const name = variableOf(option)
    const isWanted = !['', option === 'workers' ? '1' : ''].includes(env[name] ?? '')
    if (isWanted)
      throw new GracefulUpgradeError('GRACEFUL_UPGRADE_INVALID_OPTION', onlySupervised(name, option))
  }
}

export function onlySupervised(name: string, option: string): string {
  return `${name} needs a master from the start: start the server by ${supervisorOptions[option]}`
}
