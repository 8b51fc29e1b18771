import { spawnSync } from 'node:child_process'
import { GracefulUpgradeError } from '../errors.js'
import type { RestartContext } from './restart-context.js'

/** The exit code of Node.js for flags that it doesn't take. */
const invalidArgument = 9

/**
 * Asks Node.js for its version, with these flags before: it knows them, and those of V8, better than any list, and
 * takes some 4 ms.
 * @throws GRACEFUL_UPGRADE_USAGE in its words: 'bad option: --bogus', '--import requires an argument'
 */
export function checkFlags(
  flags: readonly string[],
  place: Pick<RestartContext, 'command' | 'directory' | 'environment'>
): void {
  if (flags.length === 0) return
  const { command: node, directory: cwd, environment: env } = place
  const { status, stderr } = spawnSync(node, ['--version', ...flags], { cwd, env, encoding: 'utf8' })
  if (status !== invalidArgument) return
  const lines = stderr.trim().split('\n')
  const reason = lines.find(line => line.startsWith(`${node}: `))?.slice(node.length + 2) ?? lines.at(-1)
  const detail = `node says '${reason}'; its options are --option or --option=value, as in --import=tsx; see graceful-upgrade --help`
  throw new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
}

/**
 * `--inspect=HOST:PORT` on a free port, as the old generation still has the other; and without waiting for a
 * debugger (`--inspect-brk`, `--inspect-wait`), as nobody would be there to go on before `readyTimeout`.
 */
export function onFreePorts(flags: readonly string[]): string[] {
  return flags.map((flag, index) => {
    const [option = '', address = ''] = splitAtEquals(flag)
    switch (option.replaceAll('_', '-')) {
      case '--inspect':
      case '--inspect-brk':
      case '--inspect-wait': {
        const host = /^\d*$/.test(address) ? '' : address.replace(/:\d+$/, '')
        return `--inspect=${host === '' ? '' : `${host}:`}0`
      }
      case '--inspect-port':
      case '--debug-port':
        return flag.includes('=') ? '--inspect-port=0' : flag
      default:
        return isPortOf(flags[index - 1]) ? '0' : flag
    }
  })
}

/** Whether the word behind this one is the inspector's port. */
function isPortOf(flag: string | undefined): boolean {
  return flag !== undefined && /^--(?:inspect|debug)[-_]port$/.test(flag)
}

/** `--name=value` as the two; the second is missing where there is no value. */
export function splitAtEquals(flag: string): string[] {
  const equals = flag.indexOf('=')
  return equals === -1 ? [flag] : [flag.slice(0, equals), flag.slice(equals + 1)]
}
