import path from 'node:path'
import { buildSync } from 'esbuild'

/**
 * A module of lib/ by itself, for a process that gets nothing but Node.js.
 * @param folder where it is put
 * @returns its file
 */
export function compile(name: string, folder: string): string {
  const outfile = path.join(folder, `${path.basename(name)}.mjs`)
  const entry = path.resolve(import.meta.dirname, `../../lib/${name}.ts`)
  buildSync({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external'
  })
  return outfile
}
