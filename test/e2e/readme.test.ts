/** Whoever pastes the README's commands into an empty folder, to install the packed package too, gets what it says. */
import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { Client } from '../helper/http-client.ts'
import { ended } from '../helper/program.ts'
import { blocksOf } from '../helper/readme.ts'
import { cleanEnvironment } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const install = 'npm install fastify fastify-graceful-upgrade\n'

/** As both modules are in one program, what is declared twice is found. */
const required = `
import Fastify = require('fastify')
import plugin = require('fastify-graceful-upgrade')
import { type GracefulUpgrade, gracefulUpgrade, serverOptions } from 'fastify-graceful-upgrade'
const options: plugin.GracefulUpgradeOptions = { drainTimeout: 1_000 }
const app = Fastify(serverOptions({ logger: true, gracefulUpgrade: options }))
app.register(plugin, options)
app.register(plugin.default)
app.register(gracefulUpgrade)
app.gracefulUpgrade satisfies GracefulUpgrade
new plugin.GracefulUpgradeError('GRACEFUL_UPGRADE_USAGE').code satisfies plugin.ErrorCode
`

const project = temporaryFolder(t)
const port = String(await freePort())
const { filename, names } = pack()

t.test('what is packed is what a user needs, and nothing else', async t => {
  for (const name of names) {
    t.match(
      name,
      /^(dist\/(cli\.cjs|front\.cjs|index\.(js|cjs|cjs\.map|d\.ts|d\.cts)|rehearsal\/(rehearse\.js|announce\.cjs|report\.html|uPlot\.iife\.min\.js|uPlot\.min\.css))|lib\/([\w-]+\/)?[\w-]+\.ts|lib\/README\.md|lib\/rehearsal\/report\.html|example\/([\w-]+\/)*[\w-]+\.(mjs|html|svg|md|sh|service|socket|yaml|cfg|conf)|example\/nestjs\/(src\/[\w.]+\.ts|\w+\.json)|README\.md|LICENSE|CHANGELOG\.md|package\.json)$/
    )
    t.notMatch(name, /\/current|node_modules/, 'that a deployment has left behind')
  }
  const documents = ['README.md', 'LICENSE', 'example/README.md', 'example/deployment/deploy.sh']
  for (const name of [
    'dist/index.js',
    'dist/index.cjs',
    'dist/front.cjs',
    'dist/index.d.ts',
    'dist/index.d.cts',
    'dist/cli.cjs',
    'dist/rehearsal/rehearse.js',
    ...documents
  ])
    t.ok(names.includes(name), name)
})

t.test('the first block installs it, upgrades a server in an empty folder, and ends it with 0', async t => {
  const [block] = blocksOf('Try it', 'sh') as [string]
  t.ok(block.includes(install), 'as its second line')
  const packed = `npm install --silent --prefer-offline fastify@5 ./${filename}\n`
  const output = await paste(t, block.replace(install, packed))
  t.match(output, /^generation 1, pid \d+\n(generation 1, pid \d+\n)*generation 2, pid \d+\n$/m)
  t.match(readFileSync(path.join(project, 'package.json'), 'utf8'), /"type": "commonjs"/)
})

t.test('supervised it is the same server, and answers reload, status and stop', async t => {
  const [start] = blocksOf('Run it supervised', 'sh') as [string]
  const [ask] = blocksOf('Ask a running server', 'sh') as [string]
  const wait = 'until curl -s localhost:3000; do sleep 0.1; done\n'
  const output = await paste(t, `${start.trim()} > server.log &\n${wait}${ask}wait $!`)
  t.match(output, /^generation 1, pid .*^generation 2 \(pid \d+\) ready.*^mode +supervised.*^stopped/ms)
})

t.test('the scripts of the deployment flip a link, and flip it back', async t => {
  const [block] = blocksOf('Deploy by a link', 'sh') as [string]
  const output = await paste(t, block)
  t.match(output, /^release 1, pid .*^release 2, pid .*DATABASE_URL is not set/ms)
  t.match(output, /^release 2 serves on\nrelease 2, pid .*^stopped/ms)
})

t.test('the same script takes a release back that errs on its probation, and the link with it', async t => {
  const done = new AbortController()
  t.teardown(() => done.abort())
  for (let count = 0; count < 20; count++) void ask(done.signal)
  const output = await paste(
    t,
    `cd deployment
./start.sh > server.log &
until curl -s localhost:3000; do sleep 0.1; done
for release in errors leaks; do ./deploy.sh $release || echo "$release is taken back"; readlink current; done
curl -s localhost:3000
../node_modules/.bin/graceful-upgrade stop server.pid
`
  )
  for (const release of ['errors', 'leaks'])
    t.match(output, new RegExp(`_ROLLED_BACK[^]*^${release} is taken back\nreleases/2\n`, 'm'), release)
  t.match(output, /^release 2, pid \d+\nstopping…\nstopped/m)
})

/** Whatever the answer is, or whether there is one. */
async function ask(signal: AbortSignal): Promise<void> {
  const client = new Client({ host: '127.0.0.1', port: Number(port) })
  while (!signal.aborted) {
    await client.get('/').catch(({ failure }) => failure === 'non-2xx' || client.close())
    await sleep(10)
  }
  client.close()
}

t.test('the program that npm has linked tells the version of the package', async t => {
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const program = path.join(project, 'node_modules/.bin/graceful-upgrade') // what npx starts
  t.equal(execFileSync(program, ['--version'], { encoding: 'utf8', env: cleanEnvironment() }).trim(), version)
})

t.test('an application in TypeScript takes its types from there', async t => {
  copyFileSync(path.join(root, 'test/fixture/typescript.ts'), path.join(project, 'application.mts'))
  copyFileSync(path.join(root, 'test/types/usage.ts'), path.join(project, 'usage.mts'))
  writeFileSync(path.join(project, 'required.cts'), required)
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
  const flags = ['--strict', '--noEmit', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2023']
  const types = ['--types', 'node', '--typeRoots', path.join(root, 'node_modules/@types')]
  const { code, output } = await ended(
    spawn(process.execPath, [tsc, ...flags, ...types, 'application.mts', 'usage.mts', 'required.cts'], {
      cwd: project,
      env: cleanEnvironment()
    })
  )
  t.equal(output, '')
  t.equal(code, 0)
})

/** @returns the file, in the project's folder, and the names of what is in it */
function pack() {
  const options = { cwd: root, encoding: 'utf8', env: cleanEnvironment() } as const
  const flags = ['--json', '--ignore-scripts', '--pack-destination', project]
  const packed = JSON.parse(
    execFileSync('npm', ['pack', ...flags], { ...options, stdio: ['ignore', 'pipe', 'ignore'] })
  )
  const { filename, files } = Array.isArray(packed) ? packed[0] : (Object.values(packed)[0] as any)
  return { filename, names: files.map((file: { path: string }) => file.path) as string[] }
}

/**
 * Gives it to a shell, with another port than 3000; whatever it started is gone when the test ends.
 * @returns what it printed; it ended with 0
 */
async function paste(t: Test, block: string): Promise<string> {
  const shell = spawn('sh', ['-c', block.replaceAll('3000', port)], {
    cwd: project,
    detached: true,
    env: { ...cleanEnvironment(), PORT: port },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const kill = () => {
    try {
      process.kill(-shell.pid!, 'SIGKILL')
    } catch {} // all have ended
  }
  const timer = setTimeout(kill, 300_000) // where a server fails, the loop that waits for it goes on for ever
  t.teardown(() => {
    clearTimeout(timer)
    kill()
  })
  const { code, output } = await ended(shell)
  if (!t.equal(code, 0, 'the code that the shell ends with')) t.comment(output)
  return output
}
