/** What clients that others wrote say of a server that is upgraded under their load: none reports a failure. */
import type { ChildProcess } from 'node:child_process'
import { setMaxListeners } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Pool } from 'undici'
import { buildGoClient, runGoClient } from '../helper/go-client.ts'
import { ended, missing, startProgram } from '../helper/program.ts'
import { count, type Report } from '../helper/report.ts'
import { rollCall } from '../helper/roll-call.ts'
import { startServer } from '../helper/server.ts'

const autocannon = createRequire(import.meta.url)('autocannon')

const upgrades = Number(process.env.UPGRADES ?? 2)
/** Milliseconds for which each generation serves on when it has answered each kind that tells. */
const period = 200
const connections = 20
const form = 'application/x-www-form-urlencoded'

interface Load {
  readonly t: Test
  readonly handover: 'idle' | 'all'
  readonly origin: string
  /** Removed at the end of the test. */
  readonly directory: string
  readonly done: AbortSignal
  /** A kind that tells by whom it is answered has had an answer of this generation. */
  readonly onAnswer: (generation: number, kind: 'undici' | 'curl' | 'go') => void
}

interface Kind {
  readonly title: string
  readonly command?: string
  /** It tells which generation answers. */
  readonly tells?: true
  readonly run: (load: Load) => Promise<Report>
}

const kinds: Kind[] = [
  { title: 'undici posts streams, which it cannot send twice, and loses none', tells: true, run: runUndici },
  { title: 'autocannon counts no error, timeout or mismatch', run: runAutocannon },
  { title: 'wrk counts no socket error', command: 'wrk', run: runWrk },
  {
    title: 'ab, on HTTP/1.0 keep-alive connections, counts no failed request',
    command: 'ab',
    run: runAb
  },
  {
    title: 'curl reconnects only where the server has said close',
    command: 'curl',
    tells: true,
    run: runCurl
  },
  {
    title: "Go's net/http posts readers, which it cannot send twice, and loses none",
    command: 'go',
    tells: true,
    run: load => runGoClient(load, '1', generation => load.onAnswer(generation, 'go'))
  }
]

t.jobs = 2 // a server each, at the same time

for (const handover of ['idle', 'all'] as const) {
  t.test(`with handover '${handover}', all at once`, { buffered: true }, async t => {
    const server = startServer(t, {
      release: { listen: [{ port: 0, host: '127.0.0.1' }], options: { handover } }
    })
    const origin = `http://127.0.0.1:${await server.port()}`
    const controller = new AbortController()
    setMaxListeners(0, controller.signal)
    t.teardown(() => controller.abort())
    const present = kinds.filter(({ command }) => command === undefined || !missing(command))
    const { note: onAnswer, complete } = rollCall(present.filter(({ tells }) => tells).length)
    const load = { t, handover, origin, directory: server.directory, done: controller.signal, onAnswer }
    if (!missing('go')) await buildGoClient()
    const running = present.map(({ run }) => run(load))
    await upgradeAll().finally(() => controller.abort())
    const reports = await Promise.all(running)
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null }, 'the server ends well')

    for (const { title, command, run } of kinds) {
      await t.test(title, { skip: command === undefined ? false : missing(command) }, async t => {
        const report = reports[present.findIndex(kind => kind.run === run)]!
        t.comment(JSON.stringify(report))
        t.same(report.failures, {}, 'no failure')
        t.ok(report.answers > upgrades, 'there was load')
        if (report.generations) {
          t.equal(Object.keys(report.generations).length, upgrades + 1, 'every generation has answered')
        }
      })
    }
    const drains = server.lines.filter(({ msg, reason }) => msg === 'drained' && reason === 'upgrade')
    const moved = drains.map(line => line.moved ?? 0)
    t.comment(JSON.stringify({ moved }))
    const refused = drains.reduce((sum, line) => sum + (line.refused ?? 0), 0)
    t.equal(refused, 0, `every connection that was offered was taken: ${JSON.stringify(drains)}`)
    if (handover === 'all') {
      t.ok(moved.some(Boolean), 'connections were handed over')
      t.ok(Math.max(...moved) <= connections * present.length, 'each once')
    }

    async function upgradeAll(): Promise<void> {
      await complete(1)
      await sleep(period)
      for (let generation = 2; generation <= upgrades + 1; generation++) {
        t.equal((await server.reload()).generation, generation, 'the upgrade succeeds')
        await server.line('generation retired', line => line.generation === generation - 1)
        await complete(generation)
        await sleep(period)
      }
    }
  })
}

/** Its retries are an interceptor of their own, which is not here. */
async function runUndici({ t, origin, done, onAnswer }: Load): Promise<Report> {
  const report = {
    answers: 0,
    failures: {} as Record<string, number>,
    generations: {} as Record<number, number>
  }
  const pool = new Pool(origin, { connections })
  t.teardown(() => pool.destroy())
  await Promise.all(Array.from({ length: connections }, (_, index) => client(index)))
  await pool.close()
  return report

  async function client(index: number): Promise<void> {
    for (let request = 0; !done.aborted; request++) {
      if (index > 0) await sleep(Math.random() * 40) // the first one makes no pause
      const sent = `client=${index}&n=${request}`
      try {
        const { statusCode, body } = await pool.request({
          path: '/',
          method: 'POST',
          headers: { 'content-type': form },
          body: index % 4 < 2 ? (inParts(sent) as unknown as Readable) : Readable.from(inParts(sent))
        })
        const text = await body.text()
        if (statusCode !== 200) throw new Error(`status ${statusCode}`)
        const { generation, body: echoed } = JSON.parse(text)
        if (echoed !== sent) throw new Error('the answer to another request')
        report.answers++
        report.generations[generation] = (report.generations[generation] ?? 0) + 1
        onAnswer(generation, 'undici')
      } catch (error) {
        count(report.failures, (error as Error).message)
      }
    }
  }

  async function* inParts(text: string) {
    yield text.slice(0, 5)
    await sleep(0)
    yield text.slice(5)
  }
}

async function runAutocannon({ origin, done }: Load): Promise<Report> {
  const instance = autocannon({
    url: origin,
    connections,
    method: 'POST',
    headers: { 'content-type': form },
    body: 'some=thing',
    duration: 3_600,
    timeout: 20,
    verifyBody: (body: string) => JSON.parse(body).body === 'some=thing'
  })
  const failures: Record<string, number> = {}
  instance.on('reqError', (error: Error) => count(failures, error.message))
  done.addEventListener('abort', () => instance.stop())
  const result = await instance
  for (const name of ['errors', 'timeouts', 'mismatches', 'resets', 'non2xx'])
    count(failures, name, result[name])
  return { answers: result['2xx'], failures }
}

async function runWrk({ t, origin, directory, done }: Load): Promise<Report> {
  const script = path.join(directory, 'post.lua')
  writeFileSync(
    script,
    `wrk.method = 'POST'\nwrk.headers['Content-Type'] = '${form}'\nwrk.body = 'some=thing'\n`
  )
  const args = ['-t1', `-c${connections}`, '-d1h', '--timeout', '20s', '-s', script, origin]
  const { code, output } = await runUntil(startProgram(t, 'wrk', args), done)
  const failures: Record<string, number> = {}
  if (code !== 0) count(failures, `exit ${code}`)
  for (const [, kind, errors] of /Socket errors: (.*)/.exec(output)?.[1]?.matchAll(/(\w+) (\d+)/g) ?? []) {
    count(failures, kind!, Number(errors))
  }
  count(failures, 'non-2xx', number(output, /Non-2xx or 3xx responses: (\d+)/))
  return { answers: number(output, /(\d+) requests in/), failures }
}

/** `-l`, as answers name a process and differ in length. It sends anew, untold, what meets the end of a connection. */
async function runAb({ t, origin, directory, done }: Load): Promise<Report> {
  const body = path.join(directory, 'body')
  writeFileSync(body, 'some=thing')
  const limits = ['-t', '3600', '-n', '1000000', '-s', '20']
  const args = ['-k', '-l', '-q', '-c', String(connections), ...limits, '-p', body, '-T', form, `${origin}/`]
  const { output } = await runUntil(startProgram(t, 'ab', args), done)
  const failures: Record<string, number> = {}
  if (!output.includes('Complete requests:')) count(failures, output)
  count(failures, 'failed', number(output, /Failed requests: +(\d+)/))
  count(failures, 'write errors', number(output, /Write errors: +(\d+)/))
  count(failures, 'non-2xx', number(output, /Non-2xx responses: +(\d+)/))
  return { answers: number(output, /Complete requests: +(\d+)/), failures }
}

/** It tries again by itself on a new connection when a kept one fails: the connections tell. */
async function runCurl({ t, handover, origin, done, onAnswer }: Load): Promise<Report> {
  const report = {
    answers: 0,
    failures: {} as Record<string, number>,
    generations: {} as Record<number, number>
  }
  const config = (urls: number) => [
    'fail',
    'no-progress-meter',
    'include',
    'max-time = 20',
    'rate = 1200/m',
    'data = "some=thing"',
    'write-out = "\\n%{http_code} %{num_connects} connects\\n"',
    ...Array.from({ length: urls }, () => `url = "${origin}/"`)
  ]
  // Not all of them start anew at the same moment, as that could be the one of the handover.
  await Promise.all([20, 30, 40].map(urls => runAll(urls)))
  return report

  async function runAll(urls: number): Promise<void> {
    while (!done.aborted) await runOne(urls)
  }

  async function runOne(urls: number): Promise<void> {
    const curl = startProgram(t, 'curl', ['--disable', '--config', '-'])
    createInterface({ input: curl.stdout! }).on('line', line => {
      const [, generation] = /^{.*"generation":(\d+)/.exec(line) ?? []
      if (generation !== undefined) onAnswer(Number(generation), 'curl')
    })
    curl.stdin!.end(config(urls).join('\n'))
    const { code, output } = await ended(curl)
    if (code !== 0) count(report.failures, `exit ${code}: ${output.slice(-500)}`)
    const answers = [...output.matchAll(/^{.*"generation":(\d+).*"body":"some=thing"}$/gm)]
    for (const [, generation] of answers) count(report.generations, Number(generation))
    report.answers += answers.length
    count(report.failures, 'no answer', urls - answers.length)
    const announced = handover === 'all' ? 0 : [...output.matchAll(/^connection: close\r$/gim)].length
    const connects = [...output.matchAll(/^200 (\d+) connects$/gm)].map(([, connects]) => Number(connects))
    const reconnects = connects.reduce((total, each) => total + each, 0) - 1
    count(report.failures, 'unannounced reconnect', Math.max(reconnects - announced, 0))
  }
}

/** wrk and ab go on until they are interrupted, and then report. */
function runUntil(child: ChildProcess, done: AbortSignal) {
  done.addEventListener('abort', () => child.kill('SIGINT'))
  return ended(child)
}

function number(output: string, pattern: RegExp): number {
  return Number(pattern.exec(output)?.[1] ?? 0)
}
