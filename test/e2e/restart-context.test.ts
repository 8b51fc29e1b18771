/** What the next generation runs is what a restart would run. */
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { Client } from '../helper/http-client.ts'
import { fastify, startServer } from '../helper/server.ts'

const fixture = path.resolve(import.meta.dirname, '../fixture/server.js')
const modules = path.resolve(import.meta.dirname, '../../node_modules')
const root = path.resolve(import.meta.dirname, '../..')

const ask = async (port: number, route: string) => {
  const { body } = await new Client({ host: '127.0.0.1', port }).get(route, { Connection: 'close' })
  return JSON.parse(body.toString())
}

/** Two releases behind a link, each with its own copy of this package. */
function releases(t: Test) {
  const directory = temporaryFolder(t)
  for (const release of ['1', '2', '3']) {
    const folder = path.join(directory, 'releases', release)
    mkdirSync(path.join(folder, 'node_modules/fastify-graceful-upgrade'), { recursive: true })
    writeFileSync(
      path.join(folder, 'server.mjs'),
      `const which = '${release}'\n${readFileSync(fixture, 'utf8').replace("version = '1'", 'version = which')}`
    )
    symlinkSync(fastify, path.join(folder, 'node_modules/fastify'))
    for (const name of ['fastify-plugin', 'close-with-grace']) {
      symlinkSync(path.join(modules, name), path.join(folder, 'node_modules', name))
    }
    cpSync(path.join(root, 'dist'), path.join(folder, 'node_modules/fastify-graceful-upgrade/dist'), {
      recursive: true
    })
    cpSync(
      path.join(root, 'package.json'),
      path.join(folder, 'node_modules/fastify-graceful-upgrade/package.json')
    )
  }
  const current = path.join(directory, 'current')
  const flip = (release: string) => {
    rmSync(current, { force: true })
    symlinkSync(path.join('releases', release), current)
  }
  flip('1')
  return { directory, current, flip }
}

t.test('flipping current -> releases/2 is a deployment, whichever way the server was started', async t => {
  const ways = {
    'cd current && node server.mjs': (current: string) => `cd ${current} && exec "$0" server.mjs`,
    'cd current && node ./server.mjs': (current: string) => `cd ${current} && exec "$0" ./server.mjs`,
    'node current/server.mjs': (current: string) =>
      `cd ${path.dirname(current)} && exec "$0" current/server.mjs`,
    'node /absolute/current/server.mjs': (current: string) => `cd / && exec "$0" ${current}/server.mjs`
  }
  for (const [title, way] of Object.entries(ways)) {
    const { current, flip } = releases(t)
    const server = startServer(t, { command: ['bash', '-c', way(current), process.execPath] })
    const port = await server.port()
    t.match(await ask(port, '/'), { version: '1' }, title)
    for (const release of title.startsWith('cd current && node server') ? ['2', '3'] : ['2']) {
      flip(release)
      await server.reload()
      await server.line('generation retired')
      t.match(await ask(port, '/'), { version: release }, title)
    }
  }
})

t.test('an edited --env-file takes effect, and what the application sets is not passed on', async t => {
  const directory = temporaryFolder(t)
  const env = path.join(directory, '.env')
  const changed = path.join(directory, 'changed.mjs')
  writeFileSync(env, 'COLOUR=red\n')
  writeFileSync(changed, `process.env.ADDED_BY = String(process.pid)\nprocess.env.KEPT = 'no'`)
  const server = startServer(t, {
    env: { KEPT: 'yes' },
    nodeArgs: [`--env-file=${env}`, '--import', changed]
  })
  const port = await server.port()
  t.match((await ask(port, '/environment')).env, { COLOUR: 'red', KEPT: 'no' })
  for (const colour of ['green', 'blue']) {
    writeFileSync(env, `COLOUR=${colour}\n`)
    writeFileSync(changed, '')
    const { pid } = await server.reload()
    await server.line('generation retired')
    const { env: environment } = await ask(port, '/environment')
    t.match(environment, { COLOUR: colour, KEPT: 'yes' })
    t.equal(environment.ADDED_BY, undefined, `not in ${pid}`)
    t.equal(environment.FASTIFY_GRACEFUL_UPGRADE, undefined)
  }
})

t.test('flags and arguments are kept, --inspect moves to a free port', async t => {
  const command = [
    process.execPath,
    '--inspect=127.0.0.1:0',
    '--stack-trace-limit=13',
    fixture,
    '--mode',
    'a b'
  ]
  const server = startServer(t, { command })
  const port = await server.port()
  for (const _ of [2, 3]) {
    await server.reload()
    await server.line('generation retired')
    const { execArgv, argv } = await ask(port, '/environment')
    t.same(execArgv, ['--inspect=127.0.0.1:0', '--stack-trace-limit=13'])
    t.same(argv.slice(1), [fixture, '--mode', 'a b'])
  }
  t.equal(server.stderr().match(/Debugger listening/g)?.length, 3)
  t.notMatch(server.stderr(), /address already in use/)
})

t.test('a directory that is gone, or has become a file, makes the upgrade fail, not the server', async t => {
  const directory = temporaryFolder(t)
  const inner = path.join(directory, 'inner')
  mkdirSync(inner)
  const server = startServer(t, { cwd: inner })
  const port = await server.port()
  rmSync(inner, { recursive: true })
  server.kill('SIGHUP')
  t.match(await server.line('upgrade failed'), { err: { code: /GRACEFUL_UPGRADE_(SPAWN_FAILED|EXITED)/ } })
  t.match(await ask(port, '/'), { generation: 1 })
  writeFileSync(inner, '') // which makes spawn() itself throw
  server.kill('SIGHUP')
  t.match(await server.line('upgrade failed'), { err: { code: 'GRACEFUL_UPGRADE_SPAWN_FAILED' } })
  t.match(await ask(port, '/'), { generation: 1 })
  rmSync(inner)
  mkdirSync(inner)
  t.match(await server.reload(), { generation: 4 })
})

t.test('a program that changes its directory before this package is loaded', async t => {
  const chdir = 'data:text/javascript,process.chdir("/tmp")'
  for (const before of ['', 'unset PWD;']) {
    const start = `cd ${path.dirname(fixture)}; ${before} exec "$0" --import '${chdir}' ./server.js`
    const server = startServer(t, { command: ['bash', '-c', start, process.execPath] })
    await server.port()
    for (const generation of before === '' ? [2, 3] : [2]) {
      t.match(await server.reload(), { generation })
      await server.line('generation retired')
    }
  }
})
