/** The ways in which a user starts a server, and each upgrades; `fastify start` is in own-listeners.test.ts. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Client } from '../helper/http-client.ts'
import { type Server, startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const fixture = (name: string) => path.join(root, 'test/fixture', name)

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
  t.same(Object.keys(await import(path.join(root, 'dist/index.js'))).sort(), values)
  const declaration = readFileSync(path.join(root, 'dist/index.d.ts'), 'utf8')
  const names = [...declaration.matchAll(/^export (type )?\{(.+)\};$/gm)].flatMap(([, type, list]) =>
    list!.split(',').map(name => `${type ?? ''}${name.trim().replace(/.* as /, '')}`)
  )
  t.same(names.sort(), [...values, ...types.map(name => `type ${name}`)].sort())
  t.same(declaration.match(/^export (?!(type )?\{)/gm), null, 'and each of them is in these lists')
  t.notMatch(declaration, /from '\./, 'it stands alone')
})
