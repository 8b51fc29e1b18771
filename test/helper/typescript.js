// Hooks of Node.js for the TypeScript of lib/ and test/. What a file becomes is kept, by what stands in it: the tests
// share most of what they load.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const kept = path.resolve(import.meta.dirname, '../node_modules/.typescript')
const packages = `${path.sep}node_modules${path.sep}`
const options = {
  loader: 'ts',
  format: 'esm',
  target: 'node20.19',
  sourcemap: 'inline',
  sourcesContent: false
}
const require = createRequire(import.meta.url)
const { version } = require('esbuild/package.json')

/** In lib/ a file is imported under the name that it will have as JavaScript. */
export function resolve(specifier, context, next) {
  if (/^\.{1,2}\/.*\.js$/.test(specifier) && context.parentURL?.endsWith('.ts')) {
    const url = new URL(specifier.replace(/js$/, 'ts'), context.parentURL)
    if (existsSync(url)) return { url: url.href, format: 'module', shortCircuit: true }
  }
  return next(specifier, context)
}

export function load(url, context, next) {
  const file = url.startsWith('file:') && url.endsWith('.ts') ? fileURLToPath(url) : ''
  if (file === '' || file.includes(packages)) return next(url, context)
  const compile = loaded => ({ ...loaded, source: compiled(file, String(loaded.source)) })
  const loaded = next(url, { ...context, format: 'module' })
  return loaded instanceof Promise ? loaded.then(compile) : compile(loaded)
}

/** @returns the JavaScript of what stands in a file */
export function compiled(file, text) {
  const name = createHash('sha1').update(`${version}\n${file}\n${text}`).digest('hex')
  const place = path.join(kept, `${name}.js`)
  if (existsSync(place)) return readFileSync(place, 'utf8')
  const { code } = require('esbuild').transformSync(text, { ...options, sourcefile: file })
  mkdirSync(kept, { recursive: true })
  writeFileSync(`${place}.${process.pid}`, code)
  renameSync(`${place}.${process.pid}`, place) // others may be at the same
  return code
}
