/** A framework on top of Fastify: example/nestjs, compiled as `tsc` does, with clients, over upgrades and to its end. */
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import ts from 'typescript'
import { WebSocket } from 'ws'
import { Client } from '../helper/http-client.ts'
import { type Server, startServer } from '../helper/server.ts'

const root = path.resolve(import.meta.dirname, '../..')
const example = path.join(root, 'example/nestjs')

/** @returns what `node` is to be given */
function compile(t: Test): string {
  const directory = t.testdir({ dist: {}, node_modules: {} })
  const { config } = ts.readConfigFile(path.join(example, 'tsconfig.json'), file =>
    readFileSync(file, 'utf8')
  )
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, example)
  writeFileSync(path.join(directory, 'package.json'), readFileSync(path.join(example, 'package.json')))
  symlinkSync(root, path.join(directory, 'node_modules/fastify-graceful-upgrade'))
  mkdirSync(path.join(directory, 'dist'), { recursive: true })
  for (const name of readdirSync(path.join(example, 'src'))) {
    const source = readFileSync(path.join(example, 'src', name), 'utf8')
    const fileName = path.join(directory, 'src', name) // CommonJS, as package.json there doesn't say otherwise
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: { ...options, module: ts.ModuleKind.CommonJS },
      fileName
    })
    writeFileSync(path.join(directory, 'dist', name.replace('.ts', '.js')), outputText)
  }
  return path.join(directory, 'dist/main.js')
}

/** What the application has said of this, in order: `onModuleDestroy` and the process. */
function said(server: Server, context: string): { readonly what: string; readonly pid: number }[] {
  const pattern = new RegExp(`^\\[Nest\\] (\\d+) .*\\[${context}\\] (\\w+)`)
  return server.lines.flatMap(({ msg }) => {
    const [, pid, what = ''] = pattern.exec(msg) ?? []
    return pid === undefined ? [] : { what, pid: Number(pid) }
  })
}

const upgrades = Number(process.env.NESTJS_UPGRADES ?? 3)
const hooks = ['onModuleDestroy', 'beforeApplicationShutdown', 'onApplicationShutdown']

t.test(
  'no request is lost, its hooks run once in each generation, and its job in one process at a time',
  async t => {
    const server = startServer(t, { fixture: compile(t), env: { PORT: '0', NO_COLOR: '1' } })
    const { msg } = await server.line(/^Server listening at http/)
    const port = Number(new URL(msg.slice('Server listening at '.length)).port)
    const done = new AbortController()
    t.teardown(() => done.abort())
    const failures: unknown[] = []
    const clients = Array.from({ length: 8 }, (_, index) => keepAsking(index < 2))
    for (let generation = 1; generation <= upgrades; generation++) {
      const chat = new WebSocket(`ws://localhost:${port}/chat`)
      t.teardown(() => chat.terminate())
      const closed = new Promise(resolve => chat.once('close', resolve))
      const heard = new Promise(resolve =>
        chat.once('message', text => resolve(JSON.parse(String(text)).data))
      )
      chat.once('open', () => chat.send(JSON.stringify({ event: 'say', data: 'hello' })))
      t.equal(await heard, `hello, by generation ${generation}`)
      await server.reload()
      t.equal(await closed, 1012, 'its client knows that it may connect again')
      t.equal((await server.line('generation retired')).code, 0)
    }
    done.abort()
    await Promise.all(clients)
    t.same(failures, [])
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })

    const ran = said(server, 'Database')
    t.same(
      ran.map(({ what }) => what),
      Array.from({ length: upgrades + 1 }, () => hooks).flat()
    )
    t.equal(new Set(ran.map(({ pid }) => pid)).size, upgrades + 1, 'in each process')
    const job = said(server, 'ReportJob').filter(({ what }) => what !== 'reports')
    t.same(
      job.map(({ what }) => what),
      Array.from({ length: upgrades + 1 }, () => ['begins', 'ends']).flat()
    )
    t.equal(new Set(job.map(({ pid }) => pid)).size, upgrades + 1, 'in each process')
    t.same(
      server.lines.filter(({ level }) => level > 30),
      []
    )

    /** Until the test says so; a client that never asks twice. */
    async function keepAsking(isFresh: boolean): Promise<void> {
      const client = new Client({ host: '127.0.0.1', port })
      while (!done.signal.aborted) {
        try {
          const { status } = await client.get('/', isFresh ? { Connection: 'close' } : {})
          if (status !== 200) failures.push(status)
        } catch (error) {
          failures.push(error)
          client.close()
        }
        await sleep(Math.random() * 40)
      }
      client.close()
    }
  }
)
