/** A single executable application: Node.js and the program in one file, which `process.execPath` is. */
import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { buildSync } from 'esbuild'
import t from 'tap'
import { temporaryFolder } from '../helper/folder.ts'
import { graceful, statusOf } from '../helper/graceful.ts'
import { Client } from '../helper/http-client.ts'
import { startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const program = `
  import { parseArgs } from 'node:util'
  import Fastify from 'fastify'
  import gracefulUpgrade from 'fastify-graceful-upgrade'

  const { values } = parseArgs({ options: { path: { type: 'string' } } })
  const app = Fastify({ logger: true })
  app.register(gracefulUpgrade)
  app.get('/', () => ({ generation: app.gracefulUpgrade.generation, args: process.argv.slice(2) }))
  app.listen(values).then(() => app.log.info('listening on'))
`
/** Since Node.js 25.5; before that the program is put into the executable by a tool of its own. */
const canBuild = spawnSync(process.execPath, ['--help']).stdout.includes('--build-sea')

function build(folder: string): string {
  const [main, output, config] = ['main.cjs', 'app', 'sea.json'].map(name => path.join(folder, name)) as [
    string,
    string,
    string
  ]
  buildSync({
    stdin: { contents: program, resolveDir: root },
    outfile: main,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    logLevel: 'error'
  })
  writeFileSync(config, JSON.stringify({ main, output, disableExperimentalSEAWarning: true }))
  const { status, stderr } = spawnSync(process.execPath, ['--build-sea', config], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return output
}

t.test(
  'a single executable application keeps its arguments, and replaces a socket that a crash has left behind',
  { skip: !canBuild && 'Node.js builds none by itself' },
  async t => {
    const folder = temporaryFolder(t)
    mkdirSync(path.join(folder, 'elsewhere'))
    const app = build(folder)
    const socket = path.join(folder, 'app.sock')
    const args = ['--path', socket]
    const ask = async () => {
      const { body } = await new Client({ path: socket }).get('/', { Connection: 'close' })
      return JSON.parse(body.toString())
    }

    const crashed = startServer(t, { command: [app, ...args], cwd: folder })
    await crashed.line('listening on')
    crashed.kill('SIGKILL')
    await crashed.exit()
    t.ok(lstatSync(socket).isSocket())

    const server = startServer(t, { command: ['./app', ...args], cwd: folder })
    await server.line('listening on')
    t.same(await ask(), { generation: 1, args })
    for (const generation of [2, 3]) {
      t.match(await graceful(['reload', folder]), { code: 0 })
      t.same(await ask(), { generation, args })
    }
    t.match(await statusOf(server.pid), { pid: server.pid, directory: folder })
    t.match(await graceful(['stop', folder]), { code: 0 })
    t.notOk(existsSync(socket))
  }
)
