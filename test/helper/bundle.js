// What every test loads, in one file each: Fastify for the programs in test/fixture, of which the tests start some
// hundreds, with what this version of Node.js makes of it; and tap for the tests. To read their two hundred files each
// is half of a start. Where this has not run, those in node_modules are taken, as by all others. And the TypeScript of
// the tests, compiled; what has been changed since is compiled anew.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { compiled } from './typescript.js'

const root = path.resolve(import.meta.dirname, '../..')
const [forFixtures, forTests] = ['test/fixture/node_modules', 'test/node_modules'].map(each =>
  path.join(root, each)
)
for (const each of [forFixtures, forTests]) rmSync(each, { recursive: true, force: true }) // they would be found below
bundleFastify(path.join(forFixtures, 'fastify'))
bundleTap(forTests)
for (const folder of ['lib', 'test']) compileAll(folder)
await warmUp(path.join(forFixtures, 'fastify/index.mjs'))

function bundleFastify(directory) {
  const installed = createRequire(import.meta.url).resolve('fastify')
  const original = JSON.stringify(path.relative(directory, installed))
  const cache = JSON.stringify(path.relative(directory, path.join(import.meta.dirname, 'code-cache.js')))
  write(directory, {
    'package.json': JSON.stringify({
      name: 'fastify',
      exports: { types: './index.d.cts', import: './index.mjs', require: './index.cjs' }
    }),
    'index.cjs': `module.exports = require(${original})\n`,
    'index.d.cts': `import fastify = require(${original})\nexport = fastify\n`,
    'index.mjs': `import { loadCached } from ${cache}
      export const { exports: fastify, keep } = loadCached(import.meta.dirname + '/bundle.cjs')
      export default fastify
      export const { errorCodes, LogController } = fastify\n`
  })
  bundle(path.join(directory, 'bundle.cjs'), `module.exports = require('fastify')`, 'cjs')
}

/** So that no test has to load a compiler. */
function compileAll(folder) {
  for (const name of readdirSync(path.join(root, folder), { recursive: true })) {
    const file = path.join(root, folder, name)
    if (/\.ts$/.test(name) && !/\.d\.ts$|node_modules/.test(name)) compiled(file, readFileSync(file, 'utf8'))
  }
}

/** What a start, a request and an end make V8 compile is kept. */
async function warmUp(file) {
  const { fastify, keep, LogController } = await import(file)
  const logController = new LogController({ disableRequestLogging: true })
  const app = fastify({ logger: { level: 'info', file: '/dev/null' }, logController })
  app.register(async () => {})
  app.get('/', async () => ({}))
  app.post('/', async ({ body }) => body)
  app.addHook('onClose', async () => {})
  const address = await app.listen()
  for (const body of [undefined, '{}']) {
    const headers = body ? { 'Content-Type': 'application/json' } : {}
    await fetch(address, { method: body ? 'POST' : 'GET', headers, body })
  }
  await app.close()
  keep()
}

/** Under a name of which tap knows that it is its own: it leaves such files out of the stack of a failure. */
function bundleTap(directory) {
  const original = fileURLToPath(import.meta.resolve('tap')).replace(/\.js$/, '.d.ts')
  const all = file =>
    `export * from ${JSON.stringify(file)}\nexport { default } from ${JSON.stringify(file)}\n`
  write(path.join(directory, 'tap'), {
    'package.json': JSON.stringify({
      name: 'tap',
      type: 'module',
      exports: { types: './index.d.ts', default: './index.js' }
    }),
    'index.d.ts': all(path.relative(path.join(directory, 'tap'), original)),
    'index.js': all('../@tapjs/bundle.mjs')
  })
  bundle(path.join(directory, '@tapjs/bundle.mjs'), all('tap'), 'esm')
}

function write(directory, files) {
  mkdirSync(directory, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(directory, name), text)
}

function bundle(outfile, contents, format) {
  const requireOf =
    "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);"
  buildSync({
    stdin: { contents, resolveDir: root },
    outfile,
    bundle: true,
    minifyWhitespace: true,
    platform: 'node',
    format,
    banner: format === 'esm' ? { js: requireOf } : {},
    logLevel: 'warning'
  })
}
