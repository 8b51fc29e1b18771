/** The ways in which a user starts a server, and each upgrades; `fastify start` is in own-listeners.test.ts. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { type Server, startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const fixture = (name: string) => path.join(root, 'test/fixture', name)
const file = (name: string) => path.join(root, 'dist', name)

async function upgrades(t: Test, server: Server): Promise<void> {
  const address = { host: '127.0.0.1', port: await server.port() }
  await server.reload()
  await server.line('generation retired')
  const { body } = await new Client(address).get('/', { Connection: 'close' })
  t.match(JSON.parse(body.toString()), { generation: 2 })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
}

t.test('CommonJS, with require()', t => upgrades(t, startServer(t, { fixture: 'commonjs.cjs' })))

t.test('TypeScript run directly, by node --import tsx', t =>
  upgrades(
    t,
    startServer(t, { cwd: root, command: [process.execPath, '--import', 'tsx', fixture('typescript.ts')] })
  )
)

t.test('node --eval', t => {
  const script = readFileSync(fixture('commonjs.cjs'), 'utf8')
  return upgrades(t, startServer(t, { cwd: root, command: [process.execPath, '--eval', script] }))
})

t.test('what is public, and nothing else', async t => {
  const values = ['GracefulUpgradeError', 'default', 'gracefulUpgrade', 'serverOptions']
  const types = [
    'CheckRequest',
    'ConnectionCounts',
    'ConnectionState',
    'DrainHook',
    'DrainReason',
    'DrainReport',
    'ErrorCode',
    'GenerationStatus',
    'GracefulUpgrade',
    'GracefulUpgradeOptions',
    'GracefulUpgradeState',
    'HoldUp',
    'KeepableConnection',
    'KeepableRequest',
    'KeepOptions',
    'Kept',
    'Status',
    'UpgradeRecord',
    'UpgradeResult',
    'WorkerStatus'
  ]
  const [asModule, required] = [
    await import(file('index.js')),
    createRequire(import.meta.url)(file('index.cjs'))
  ]
  t.same(Object.keys(asModule).sort(), values)
  t.equal(
    required,
    asModule.default,
    'one copy, however it is loaded: the plugin itself, as in packages of Fastify'
  )
  for (const name of values) t.equal(required[name], asModule[name], name)

  const listed = [...values, ...types.map(name => `type ${name}`)].sort()
  for (const declaration of ['index.d.ts', 'index.d.cts'].map(name => readFileSync(file(name), 'utf8'))) {
    const lists = [...declaration.matchAll(/^ *export (type )?\{ (.+) \}/gm)]
    const names = lists.flatMap(([, type, list]) =>
      list!.split(', ').map(name => `${type ?? ''}${name.replace(/.* as /, '')}`)
    )
    if (/^export default/m.test(declaration)) names.push('default')
    t.same(names.sort(), listed)
    t.same(declaration.match(/^export (?!(type )?\{|default main|= gracefulUpgrade)/gm), null, 'and no more')
    t.notMatch(declaration, /from '\.(?!\/index\.cjs)/, 'it stands alone')
  }
})
