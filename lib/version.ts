import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Put in by the build: an application that bundles this package has another package.json there, or none. */
declare const packageVersion: string | undefined

/** Of this package. */
export function version(): string {
  if (typeof packageVersion === 'string') return packageVersion
  return JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')).version
}
