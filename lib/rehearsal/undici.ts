import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { GracefulUpgradeError } from '../errors.js'

/** What of it is used: since 6 it is there, and means the same. */
export type Undici = Pick<typeof import('undici'), 'Agent' | 'buildConnector' | 'Client' | 'WebSocket'>

/**
 * The HTTP client, which a server in production has no use for: it is the application's own, or that of this package.
 * @param directory of the application
 * @param own a file of this package
 * @throws GRACEFUL_UPGRADE_USAGE where it isn't installed
 */
export async function loadUndici(directory: string, own = import.meta.filename): Promise<Undici> {
  const file = resolveFrom(path.join(directory, 'package.json')) ?? resolveFrom(own)
  if (file === undefined) {
    const detail = `rehearse needs an HTTP client: npm install --save-dev undici@${newest()}`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE', detail)
  }
  return import(pathToFileURL(file).href)
}

/** undici 8 needs Node.js 22.19. */
function newest(): number {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  return major > 22 || (major === 22 && minor >= 19) ? 8 : 7
}

function resolveFrom(file: string): string | undefined {
  try {
    return createRequire(file).resolve('undici')
  } catch {
    return undefined
  }
}
