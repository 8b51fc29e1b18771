import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import https from 'node:https'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ask } from '../../lib/client/ask.js'
import { findMaster } from '../../lib/client/find.js'
import type { Status } from '../../lib/control/messages.js'
import { makeCertificate } from '../helper/certificate.ts'
import { temporaryFolder } from '../helper/folder.ts'
import { Client, type RequestError } from '../helper/http-client.ts'
import { endAll, heard, party, start as startHouse } from '../helper/kept.ts'
import { type LogLine, type StartOptions, startServer } from '../helper/server.ts'
import { ends } from '../helper/supervised.ts'

const keptClients = 20

/** What one generation has answered to clients that keep their connections, and to others with one for each request. */
interface Answers {
  kept: number
  fresh: number
}

/** None of them ever retries: what they see as an error is an error. */
function startClients(t: Test, port: number) {
  const done = new AbortController()
  let answers = new Map<number, Answers>()
  let failures: string[] = []
  const clients: Client[] = []
  /** Those that were answered since somebody has begun to wait for it. */
  const answered = new Set<Client>()
  t.teardown(() => done.abort())
  const running = Promise.all([
    ...Array.from({ length: keptClients }, () => run('kept')),
    ...Array.from({ length: 4 }, () => run('fresh'))
  ])
  return { seen, answers: countOf, answeredBy, allAnswered, opened, stop }

  async function run(kind: keyof Answers): Promise<void> {
    const client = new Client({ host: '127.0.0.1', port })
    if (kind === 'kept') clients.push(client)
    while (!done.signal.aborted) {
      await sleep(Math.random() * 40)
      try {
        const { body } = await client.get('/', kind === 'fresh' ? { Connection: 'close' } : {})
        note(kind, JSON.parse(body.toString()).generation)
        answered.add(client)
      } catch (error) {
        const { failure } = error as RequestError
        failures.push(failure ?? String(error))
        if (failure !== 'non-2xx' || kind === 'fresh') client.close()
      }
    }
    client.close()
  }

  function note(kind: keyof Answers, generation: number): void {
    const known = answers.get(generation) ?? { kept: 0, fresh: 0 }
    known[kind]++
    answers.set(generation, known)
  }

  /** Since the last time that this was asked. */
  function seen() {
    const before = { answers, failures }
    answers = new Map()
    failures = []
    return before
  }

  function countOf(kind: keyof Answers): number {
    return [...answers.values()].reduce((sum, each) => sum + each[kind], 0)
  }

  async function answeredBy(generation: number): Promise<void> {
    while (!answers.has(generation)) await sleep(5)
  }

  async function allAnswered(): Promise<void> {
    answered.clear()
    while (clients.some(client => !answered.has(client))) await sleep(5)
  }

  /** How many connections those have opened in all that keep them. */
  function opened(): number {
    return clients.reduce((sum, client) => sum + client.opened, 0)
  }

  async function stop(): Promise<void> {
    done.abort()
    await running
  }
}

const terms = { probation: 1_000, handover: 'all' }

type Options = Partial<StartOptions> & { readonly options?: object }

async function start(t: Test, { options = {}, release = {}, ...more }: Options = {}) {
  const server = startServer(t, {
    fixture: 'release.js',
    release: { options: { ...terms, ...options }, ...release },
    ...more
  })
  const port = await server.port()
  return { server, port, deploy, probe, upgrade, rolledBack, confirmed, status }

  function deploy(kind: string, changed: object = {}, more: object = {}): void {
    server.deploy({ kind, options: { ...terms, ...options, ...changed }, ...release, ...more })
  }

  /** The next generation is on probation. */
  async function probe(...release: Parameters<typeof deploy>): Promise<LogLine> {
    deploy(...release)
    server.kill('SIGHUP')
    return server.line('generation on probation')
  }

  async function upgrade(...release: Parameters<typeof deploy>): Promise<LogLine> {
    await probe(...release)
    return server.line(/^generation (confirmed|rolled back)$/)
  }

  /** However long it takes until so much is known of it. */
  async function rolledBack(kind: string, more?: object): Promise<LogLine> {
    const line = await upgrade(kind, { probation: 60_000 }, more)
    await server.line('generation retired', ({ generation }) => generation === line.generation)
    return line
  }

  /** And the one before it has gone. */
  async function confirmed(...release: Parameters<typeof deploy>): Promise<LogLine> {
    const line = await upgrade(...release)
    await server.line('generation retired', ({ generation }) => generation < line.generation)
    return line
  }

  async function status(): Promise<Status> {
    return ask(await findMaster(String(server.pid)), 'status')
  }
}

const text = ({ err }: LogLine) => err.message as string

/** The short form has the last one. */
const servers = [
  ['standalone', undefined],
  ['with two workers', ['--workers', '2']]
] as const

for (const [name, supervised] of servers.slice(-Number(process.env.PROBATION_SERVERS ?? 2))) {
  t.test(`good and bad releases, ${name}`, async t => {
    const { server, port, deploy, probe, rolledBack, confirmed, status } = await start(t, {
      ...(supervised && { supervised })
    })
    const clients = startClients(t, port)
    await clients.allAnswered()
    const connectionsOf = async (index: number) => {
      const counts = (await status()).generations[index]?.connections
      return counts ? counts.idle + counts.active : 0
    }

    await t.test('a good one gets its share of all that comes, and then serves alone', async t => {
      await probe('good', { probation: 60_000 })
      await clients.answeredBy(2)
      clients.seen()
      while ((await connectionsOf(1)) < 2) await sleep(20) // of those that were there; a fresh one may come on top
      t.ok((await connectionsOf(1)) <= 4)
      while (clients.answers('fresh') < 100) await sleep(5)
      const before = clients.seen().answers
      const share = before.get(2)!.fresh / (before.get(1)!.fresh + before.get(2)!.fresh)
      t.ok(share > 0.07 && share < 0.13, `${share} of the fresh ones`)
      const retired = server.line('generation retired')
      await ask(await findMaster(String(server.pid)), 'confirm')
      t.match(await server.line('generation confirmed'), { candidate: { errors: 0 }, current: { errors: 0 } })
      await retired
      const { failures } = clients.seen()
      t.same(failures, [])
    })

    await t.test(
      'one that answers worse goes back with what it has, and nobody sees more than its errors',
      async t => {
        const line = await rolledBack('tenth')
        t.match(line, { generation: 3, candidate: { errors: Number }, current: { errors: 0 } })
        t.match(text(line), /of its \d+ responses were 5xx, and 0 of \d+ by generation 2/)
        const { failures } = clients.seen()
        t.ok(failures.length >= 3 && failures.length < 15, `${failures}`)
        t.same(
          failures.filter(failure => failure !== 'non-2xx'),
          []
        )
        t.equal(clients.opened(), keptClients, 'and nobody has had to come again')
      }
    )

    for (const [kind, reason, number] of [
      ['killed', /it has ended by SIGKILL/, 4],
      ['leaks', /it has an uncaught error/, 5],
      ['exits', /it has ended by code 7/, 6]
    ] as const) {
      await t.test(`one that is bad as ${kind} says loses what it has in hand, and no more`, async t => {
        t.match(text(await rolledBack(kind)), reason)
        const { failures } = clients.seen()
        t.ok(failures.length <= 10, `${failures}`)
        t.match((await status()).upgrades[0], {
          generation: number,
          result: 'GRACEFUL_UPGRADE_ROLLED_BACK'
        })
      })
    }

    await clients.allAnswered() // one that was idle then finds out only now that its process has died
    clients.seen()
    const opened = clients.opened()

    await t.test('one that judges itself is believed', async t => {
      t.match(text(await rolledBack('judges')), /it does not like itself/)
      t.match((await confirmed('confirms', { probation: 60_000 })).reason, /the application has confirmed it/)
      await server.line('confirmed')
      t.same(clients.seen().failures, [])
    })

    await t.test(
      'one that is slower, or has the errors that the other one has, too, is confirmed',
      async t => {
        t.match(await confirmed('slower'), { candidate: { errors: 0 } })
        t.same(clients.seen().failures, [])
        deploy('database', { probation: 0 })
        server.kill('SIGHUP')
        await server.line('generation retired', ({ generation }) => generation === 9)
        t.match(await confirmed('database'), { candidate: { errors: Number }, current: { errors: Number } })
        t.same(new Set(clients.seen().failures), new Set(['non-2xx']))
      }
    )

    t.equal(clients.opened(), opened, 'nobody has had to come again')
    await clients.stop()
  })
}

t.test('one that throws in one route goes back as soon as some have asked for that', async t => {
  const { server, port, probe } = await start(t, { supervised: [] })
  const clients = startClients(t, port)
  await probe('rare', { probation: 600_000 })
  let isOver = false
  const rolledBack = server.line('generation rolled back').finally(() => (isOver = true))
  const statuses = new Set<number>()
  while (!isOver) {
    const client = new Client({ host: '127.0.0.1', port })
    const answer = client.get('/rare', { Connection: 'close' })
    statuses.add(
      await answer.then(
        ({ status }) => status,
        error => Number.parseInt(error.message, 10)
      )
    )
  }
  t.match(text(await rolledBack), /of its \d+ responses were 5xx, and 0 of \d+ by generation 1/)
  t.same(statuses, new Set([200, 500]))
  t.same(clients.seen().failures, [])
  await clients.stop()
})

t.test(
  'one that hangs is killed, though its time would be over, and the other one has never stopped',
  async t => {
    const { server, port, upgrade } = await start(t, { supervised: [] })
    const clients = startClients(t, port)
    await clients.answeredBy(1)
    t.match(text(await upgrade('blocks')), /its event loop has not answered for \d s/)
    t.match(await server.line('generation retired'), { generation: 2, signal: 'SIGKILL' })
    await clients.answeredBy(1)
    const { answers, failures } = clients.seen()
    t.ok(failures.length <= 10, `${failures}`)
    t.ok(answers.get(1)!.kept > 200, 'it has served all the time')
    await clients.stop()
  }
)

t.test('its check is asked on, and one that fails it goes back', async t => {
  const { server, port, upgrade, probe } = await start(t, {
    supervised: [],
    options: { check: '/health', probation: 60_000 }
  })
  const clients = startClients(t, port)
  t.match(text(await upgrade('sick')), /GET \/health answered 500/)
  await server.line('generation retired')
  await probe('good')
  await clients.answeredBy(3)
  t.same(clients.seen().failures, [])
  await clients.stop()
})

t.test('while it lasts', async t => {
  const { server, port, deploy, probe, status } = await start(t, {
    supervised: ['--workers', '2'],
    options: { probation: 60_000 }
  })
  const clients = startClients(t, port)
  const master = await findMaster(String(server.pid))
  const states = async () => {
    const found = new Set<string>()
    while (found.size < 2) {
      const { body } = await new Client({ host: '127.0.0.1', port }).get('/', { Connection: 'close' })
      found.add(JSON.parse(body.toString()).state)
    }
    return found
  }

  await t.test('both serve, and each knows in which it is', async t => {
    const { pid } = await probe('good')
    t.same(await states(), new Set(['serving', 'probation']))
    const { state, generations, probation } = await status()
    t.equal(state, 'probation')
    t.match(generations, [{ state: 'serving' }, { state: 'probation', pid, workers: [{ worker: 0 }] }])
    t.match(probation, { generation: 2, left: Number, candidate: { errors: 0 }, current: { errors: 0 } })
  })

  await t.test('no other upgrade begins', async t => {
    server.kill('SIGHUP')
    t.match(await server.line('upgrade refused'), { err: { code: 'GRACEFUL_UPGRADE_ON_PROBATION' } })
    await t.rejects(ask(master, { command: 'scale', workers: '3' }), {
      code: 'GRACEFUL_UPGRADE_ON_PROBATION'
    })
  })

  await t.test('a signal to the new one lets it go, and who waits for the upgrade hears it', async t => {
    const { generations } = await status()
    process.kill(generations[1]!.pid!, 'SIGTERM')
    t.match(text(await server.line('generation rolled back')), /a signal has asked it to end/)
    await server.line('generation retired')
    t.same(clients.seen().failures, [])
  })

  await t.test('the operator ends it either way', async t => {
    await probe('good')
    await ask(master, 'rollback')
    t.match(text(await server.line('generation rolled back')), /graceful-upgrade rollback/)
    await server.line('generation retired')
    const upgrade = ask(master, 'reload')
    await server.line('generation on probation')
    await ask(master, 'confirm')
    await server.line('worker ready', ({ generation, worker }) => generation === 4 && worker === 1)
    await upgrade
    t.same(clients.seen().failures, [])
    await t.rejects(ask(master, 'confirm'), { code: 'GRACEFUL_UPGRADE_NO_PROBATION' })
  })

  await t.test(
    'a worker of the old one that dies is replaced, and the new one can be confirmed after that',
    async t => {
      const { generations } = await status()
      await probe('good')
      process.kill(generations[0]!.workers![0]!.pid, 'SIGKILL')
      await server.line('worker ready', ({ generation, worker }) => generation === 4 && worker === 0)
      await clients.answeredBy(5)
      t.equal((await status()).state, 'probation')
      await ask(master, 'confirm')
      await server.line('worker ready', ({ generation, worker }) => generation === 5 && worker === 1)
      await server.line('generation retired', ({ generation }) => generation === 4)
      clients.seen()
    }
  )

  await t.test(
    'when all of the old one die, the new one serves at once, and its missing worker is started',
    async t => {
      await probe('good')
      const { generations } = await status()
      deploy('late') // so that none takes the place of the first one before the other one has ended
      for (const { pid } of generations[0]!.workers!) process.kill(pid, 'SIGKILL')
      t.match(await server.line('generation confirmed', ({ generation }) => generation === 6), {
        reason: 'generation 5 has died'
      })
      await server.line('worker ready', ({ generation, worker }) => generation === 6 && worker === 1)
      await clients.answeredBy(6)
    }
  )

  await t.test('SIGTERM ends both in one drain’s time', async t => {
    await server.line('scaled')
    await probe('good')
    await clients.answeredBy(7)
    await clients.stop()
    server.kill('SIGTERM')
    t.same(await server.exit(), { code: 0, signal: null })
  })
})

t.test(
  'WebSockets stay where they are, and those that came to the new one are kept when it goes',
  async t => {
    const house = await startHouse(t, { release: { options: { probation: 60_000, probationShare: 1 } } })
    const { server } = house
    const old = await party(t, house, 6)
    server.kill('SIGHUP')
    await server.line('generation on probation')
    const late = await party(t, house, 6)
    const isThere = ({ generations }: (typeof late)[number]) => generations.at(-1) === 2
    while (!late.some(isThere)) await sleep(10) // one that has spoken before it could be given stays
    const there = late.filter(isThere)
    await ask(await findMaster(String(server.pid)), 'rollback')
    await server.line('generation retired')
    await heard(there, 1)
    for (const { generations } of old) t.same(generations, [1])
    await endAll(t, [...old, ...late])
  }
)

t.test(
  'over TLS no connection can be given: both accept, and none is lost when the new one goes',
  async t => {
    const files = makeCertificate(temporaryFolder(t))
    const tls = { key: readFileSync(files.key, 'utf8'), cert: readFileSync(files.cert, 'utf8') }
    const { server, port, probe } = await start(t, {
      supervised: [],
      release: { tls },
      options: { probation: 60_000 }
    })
    const kept = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
    t.teardown(() => kept.destroy())
    const get = async (agent: https.Agent | false) => {
      const request = https.get({ port, host: '127.0.0.1', agent, rejectUnauthorized: false })
      const [response] = await once(request, 'response')
      return JSON.parse((await response.toArray()).join('')).generation as number
    }
    const until = async (generation: number) => {
      while ((await get(false)) !== generation);
    }
    t.equal(await get(kept), 1)
    await probe('good')
    await until(1)
    await until(2)
    t.equal(await get(kept), 1, 'it stays where it is')
    await ask(await findMaster(String(server.pid)), 'rollback')
    await server.line('generation retired')
    t.equal(await get(kept), 1)
    t.same(await Promise.all(Array.from({ length: 10 }, () => get(false))), Array(10).fill(1))
  }
)

t.test('without its master', async t => {
  await t.test('the old one serves on alone, and the new one ends', async t => {
    const { server, port, probe } = await start(t, { supervised: [], options: { probation: 60_000 } })
    const clients = startClients(t, port)
    const { pid } = await probe('good')
    await clients.answeredBy(2)
    server.kill('SIGKILL')
    await ends(pid)
    clients.seen()
    await clients.answeredBy(1)
    await sleep(100)
    const { answers, failures } = clients.seen()
    t.same([...answers.keys()], [1])
    t.same(failures, [])
    server.deploy({ kind: 'good', options: terms })
    process.kill((await server.line('master lost, this generation goes on as its own master')).pid, 'SIGHUP')
    await server.line('generation confirmed')
    await clients.stop()
  })

  await t.test('where that was the old one, too, the new one serves', async t => {
    const { server, port, probe } = await start(t, { options: { probation: 60_000 } })
    const clients = startClients(t, port)
    await probe('good')
    await clients.answeredBy(2)
    server.kill('SIGKILL')
    await server.line('master lost, this generation goes on as its own master')
    await clients.stop()
    const later = startClients(t, port)
    await later.answeredBy(2)
    t.same(later.seen().failures, [])
    await later.stop()
  })
})

/** The long form: ROLLBACKS=50. */
const rollbacks = Number(process.env.ROLLBACKS ?? 4)

t.test(
  `after ${rollbacks} rollbacks nothing is left of them, nor of what only the new one has opened`,
  async t => {
    const { server, port, rolledBack } = await start(t, { supervised: [] })
    const clients = startClients(t, port)
    const also = { path: path.join(server.directory, 'also.sock') }
    const counts: { descriptors: number; children: number; megabytes: number }[] = []
    for (let count = 0; count < rollbacks; count++) {
      await rolledBack(count % 2 === 0 ? 'tenth' : 'killed', { also })
      while (existsSync(also.path)) await sleep(5)
      await clients.answeredBy(1)
      // A connection that is on its way, or a pipe of a process that has just ended, is one more.
      const most = counts[1]?.descriptors ?? Number.POSITIVE_INFINITY
      const end = performance.now() + 10_000
      let descriptors = 0
      do descriptors = readdirSync(`/proc/${server.pid}/fd`).length
      while (descriptors > most && performance.now() < end && (await sleep(5, true)))
      const children = readdirSync('/proc').filter(pid => isChild(pid, server.pid)).length
      const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'latin1'))!
      counts.push({ descriptors, children, megabytes: Number(kilobytes) / 1024 })
    }
    t.comment(counts)
    t.ok(counts.at(-1)!.descriptors <= counts[1]!.descriptors)
    t.equal(counts.at(-1)!.children, 1)
    t.ok(counts.at(-1)!.megabytes < counts[1]!.megabytes + 10, 'what is collected comes and goes')
    await clients.stop()
  }
)

function isChild(pid: string, parent: number): boolean {
  try {
    return (
      /^\d+$/.test(pid) &&
      Number(/\) . (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))![1]) === parent
    )
  } catch {
    return false
  }
}
