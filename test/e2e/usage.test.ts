/** Every way in which a user starts a server upgrades. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { cleanEnvironment, type Server, startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const fixture = (name: string) => path.join(root, 'test/fixture', name)

async function upgradesTwice(t: Test, server: Server): Promise<void> {
  const address = { host: '127.0.0.1', port: await server.port() }
  for (const generation of [2, 3]) {
    await server.reload()
    await server.line('generation retired')
    const { body } = await new Client(address).get('/', { Connection: 'close' })
    t.match(JSON.parse(body.toString()), { generation })
  }
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })
}

t.test('an ES module', t => upgradesTwice(t, startServer(t)))

t.test('CommonJS, with require()', t => upgradesTwice(t, startServer(t, { fixture: 'commonjs.cjs' })))

t.test('TypeScript run directly, by node --import tsx', t =>
  upgradesTwice(
    t,
    startServer(t, { cwd: root, command: [process.execPath, '--import', 'tsx', fixture('typescript.ts')] })
  )
)

t.test('fastify start of fastify-cli', async t => {
  const cli = path.join(root, 'node_modules/.bin/fastify')
  const command = [
    process.execPath,
    cli,
    'start',
    '--port', // takes 0 for its default, on which others may listen
    String(await freePort()),
    '--address',
    '127.0.0.1',
    '--log-level',
    'info',
    fixture('cli-app.js')
  ]
  await upgradesTwice(t, startServer(t, { command }))
})

t.test('node --eval', t => {
  const script = readFileSync(fixture('commonjs.cjs'), 'utf8')
  return upgradesTwice(t, startServer(t, { cwd: root, command: [process.execPath, '--eval', script] }))
})

t.test('the packed package, installed into an empty project, by the smallest example', async t => {
  const project = mkdtempSync(path.join(tmpdir(), 'fgu-project-'))
  t.teardown(() => rmSync(project, { recursive: true, force: true }))
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, {
      cwd: project,
      encoding: 'utf8',
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'ignore']
    })
  const packed = JSON.parse(
    execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], {
      cwd: root,
      encoding: 'utf8',
      env: cleanEnvironment(),
      stdio: ['ignore', 'pipe', 'ignore']
    })
  )
  const { filename, files } = Array.isArray(packed) ? packed[0] : (Object.values(packed)[0] as any)
  const names: string[] = files.map((file: { path: string }) => file.path)
  for (const name of names) {
    t.match(
      name,
      /^(dist\/(cli\.cjs|index\.js|index\.js\.map|[\w-]+\.d\.ts|[\w-]+\.d\.ts\.map)|lib\/[\w-]+\.ts|README\.md|LICENSE|CHANGELOG\.md|package\.json)$/
    )
  }
  for (const name of ['dist/index.js', 'dist/index.d.ts', 'dist/cli.cjs', 'README.md', 'LICENSE'])
    t.ok(names.includes(name), name)

  writeFileSync(path.join(project, 'package.json'), '{ "private": true, "type": "module" }')
  run('npm', 'install', '--prefer-offline', 'fastify@5', `./${filename}`)
  copyFileSync(path.join(root, 'example/smallest.js'), path.join(project, 'server.js'))
  const server = startServer(t, { cwd: project, command: [process.execPath, 'server.js'] })
  await server.line(/^Server listening/)
  for (const generation of [2, 3]) {
    t.match(await server.reload(), { generation })
    await server.line('generation retired')
  }
  const answer = await new Client({ host: '127.0.0.1', port: 3000 }).get('/', { Connection: 'close' })
  t.match(JSON.parse(answer.body.toString()), { hello: 'world' })
  server.kill('SIGTERM')
  t.same(await server.exit(), { code: 0, signal: null })

  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  t.equal(run('npx', '--no-install', 'graceful-upgrade', '--version').trim(), version)
  const program = path.join(project, 'node_modules/.bin/graceful-upgrade') // what npx starts
  const supervised = startServer(t, { cwd: project, command: [program, 'server.js'] })
  await supervised.line('generation ready')
  for (const generation of [2, 3]) {
    t.match(await supervised.reload(), { generation })
    await supervised.line('generation retired')
  }
  supervised.kill('SIGTERM')
  t.same(await supervised.exit(), { code: 0, signal: null })

  mkdirSync(path.join(project, 'types'))
  copyFileSync(fixture('typescript.ts'), path.join(project, 'types/server.ts'))
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
  const flags = [
    '--strict',
    '--noEmit',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--typeRoots',
    path.join(root, 'node_modules/@types')
  ]
  t.doesNotThrow(() =>
    run(process.execPath, tsc, ...flags, '--skipLibCheck', '--types', 'node', 'types/server.ts')
  )
})
