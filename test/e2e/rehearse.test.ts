/** `graceful-upgrade rehearse` on real applications: good ones, and one with faults that it has to name. */
import { execFile } from 'node:child_process'
import { readFileSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import type { Report } from '../../lib/rehearsal/report.js'
import { temporaryFolder } from '../helper/folder.ts'
import { freePort } from '../helper/free-port.ts'
import { cleanEnvironment, cli, fixtures } from '../helper/server.ts'
import { ask, ends } from '../helper/supervised.ts'

t.jobs = 2

interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** @param heard is told of all that was said so far, and the pid */
function rehearse(
  t: Test,
  args: string[],
  env = {},
  heard: (said: string, pid: number) => void = () => {}
): Promise<Run> {
  return new Promise(resolve => {
    const options = { env: { ...cleanEnvironment(), ...env }, cwd: fixtures }
    const program = path.join(temporaryFolder(t), 'graceful-upgrade')
    symlinkSync(cli, program) // as npm does
    const child = execFile(
      process.execPath,
      [program, 'rehearse', ...args],
      options,
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr })
    )
    t.teardown(() => child.kill('SIGKILL')) // the server ends with it
    let said = ''
    child.stdout!.on('data', chunk => heard((said += chunk), child.pid!))
  })
}

const live = path.resolve(fixtures, '../../example/live.mjs')

const once = ['--clients', '5', '--every', '700ms', '--for', '1300ms']
const short = ['--clients', '5', '--every', '1s', '--for', '2500ms']

function texts({ runs }: Report): string[] {
  return runs[0]!.findings.map(({ level, text }) => `${level}: ${text}`)
}

t.test('an application that is upgraded well passes, and keeps its WebSockets and streams', async t => {
  const page = path.join(temporaryFolder(t), 'report.html')
  const paths = ['--websocket', '/chat', '--events', '/feed', '--fresh', '1', '--handover', 'all']
  const { code, stdout, stderr } = await rehearse(t, [...short, ...paths, '--json', '--html', page, live], {
    PORT: String(await freePort())
  })
  const report: Report = JSON.parse(stdout)
  const [run] = report.runs
  t.match({ code, stderr }, { code: 0, stderr: '' })
  t.match(report, {
    version: 1,
    passed: true,
    runs: [{ mode: 'upgrade', failures: 0, losses: 0, reconnects: 0 }]
  })
  t.ok(run!.changes.length >= 1, 'a slow machine has less of them')
  for (const { generation, boot, drain, memory } of run!.changes)
    t.ok(
      generation && boot && drain !== undefined && memory?.next,
      'each upgrade has its times, and its memory'
    )
  t.match(run!.stays, [
    { name: 'WebSocket /chat', opened: 10, closed: {} },
    { name: 'events /feed', opened: 10, closed: {}, missed: 0, doubled: 0 }
  ])
  t.ok(run!.requests > 20 && run!.stays[1]!.received > 20, `${run!.requests} requests`)
  t.ok(readFileSync(page, 'utf8').includes('uPlot='), 'the page has what it draws with')
})

t.test('a restart loses what an upgrade does not, side by side', async t => {
  const { code, stdout } = await rehearse(t, [...once, '--compare', 'restart,close', 'faulty.js'], {
    PORT: String(await freePort()),
    BOOT_TIME: '1000' // so that the outage is longer than what a busy machine holds clients up for
  })
  t.equal(code, 0, 'what it is compared with is not judged')
  t.match(stdout, /^PASSED: 0 of [\d,]+ requests failed, .* over 1 upgrade\.$/m)
  t.match(stdout, /^upgrade +[\d,]+ +0 +0\.0 /m)
  t.match(stdout, /^restart: [1-9][\d,]* of [\d,]+ requests failed, 5 of 5 clients had to reconnect/m)
  t.match(stdout, /^close and restart: [1-9][\d,]* of /m)
})

t.test('of an application without the plugin it shows what a restart loses today', async t => {
  const { code, stdout } = await rehearse(t, [...once, '--compare', 'restart,close', 'plain.js'], {
    PORT: String(await freePort())
  })
  t.equal(code, 1)
  t.match(stdout, /^No upgrade: the application listens, and has not registered fastify-graceful-upgrade/m)
  t.match(stdout, /^FAILED: [1-9][\d,]* of [\d,]+ requests failed, 5 of 5 clients .* over 1 restart\.$/m)
  t.match(stdout, /^✗ GET \/: the connection was refused .*, around restart 1\. Nobody listened/m)
  t.match(stdout, /^close and restart: [1-9][\d,]* of /m)
})

t.test('it finds the race that is lost where idle connections are closed', async t => {
  // All that are idle end at once, and their clients hear of that long after their next request.
  const args = ['--handover', 'false', '--idle-spread-time', '1', '--clients', '20', '--latency', '300ms']
  const { code, stdout } = await rehearse(t, [...args, '--every', '700ms', '--for', '1300ms', 'faulty.js'])
  t.equal(code, 1)
  t.match(stdout, /^✗ GET \/: \d+ requests? lost, around upgrade 1\. The server closed a connection/m)
})

t.test('it names a handler that hangs, a session that is gone, and an onClose hook that throws', async t => {
  const { code, stdout } = await rehearse(
    t,
    [
      ...short,
      '--drain-timeout',
      '950',
      '--timeout',
      '5s',
      '--request',
      '/cart',
      '--request',
      '/hang',
      '--json',
      'faulty.js'
    ],
    { FAULTS: 'onClose' }
  )
  t.equal(code, 1)
  const found = texts(JSON.parse(stdout)).join('\n')
  t.match(
    found,
    /^fault: After .* did not end as it should \(exit code 1\).*Its log: closing the application failed: the pool does not close/m
  )
  t.match(found, /^fault: .*cut \d+ HTTP\/1\.1 request.*What hung: GET \/hang/m)
  t.match(found, /^failure: GET \/cart: answered with 401 instead of 200/m)
})

t.test('it names a port that is free only once', async t => {
  const { code, stdout } = await rehearse(t, [...short, 'faulty.js'], {
    FAULTS: 'port',
    UDP_PORT: String(await freePort())
  })
  t.equal(code, 1)
  t.match(stdout, /^FAILED: 0 of .* over \d upgrades? \(\d failed\)\.$/m)
  t.match(stdout, /^✗ Upgrades? 1.* failed, and the old version served on: .*EADDRINUSE.*not a UDP socket/m)
})

t.test('it names a WebSocket that never ends, and a slow boot', async t => {
  const { code, stdout } = await rehearse(
    t,
    [
      '--clients',
      '2',
      '--every',
      '500ms',
      '--for',
      '1s',
      '--drain-timeout',
      '200',
      '--websocket',
      '/raw',
      'faulty.js'
    ],
    { FAULTS: 'slow' }
  )
  t.equal(code, 1)
  t.match(stdout, /^✗ WebSocket \/raw: ended without a word 10 times, around upgrade 1\./m)
  t.match(
    stdout, // 200 ms may be too short for an answer, too
    /^✗ After upgrade 1 the old version was not done within drainTimeout, and cut (\d HTTP\/1\.1 requests?, )?10 other connections\./m
  )
  t.match(stdout, /^• The new version takes up to \d+\.\d s until it serves: a slow boot/m)
})

for (const signal of ['SIGINT', 'SIGKILL'] as const)
  t.test(`after ${signal} nothing is left behind`, async t => {
    let pids: Promise<[number, number]> | undefined
    const { code, stdout } = await rehearse(t, ['--clients', '2', 'faulty.js'], {}, (said, pid) => {
      const [, port] = /^HTTP\/1\.1 on 127\.0\.0\.1:(\d+)/m.exec(said) ?? []
      if (port === undefined || pids !== undefined) return
      pids = ask(Number(port), '/pids')
      void pids.finally(() => process.kill(pid, signal))
    })
    const [master, worker] = (await pids) ?? [0, 0]
    await Promise.all([ends(master), ends(worker)])
    t.equal(code, signal === 'SIGINT' ? 130 : null)
    if (signal === 'SIGINT') t.match(stdout, /^PASSED: 0 of .*, until it was interrupted\.$/m)
  })

for (const [name, args, message] of [
  ['an application that throws', ['nowhere.js'], /did not start.*its last words:.*no such file/s],
  [
    'a request that fails already',
    ['--request', '/error', 'faulty.js'],
    /GET \/error fails before any upgrade: it is answered with 500/
  ],
  [
    'an application without the plugin',
    ['plain.js'],
    /has not registered fastify-graceful-upgrade.*--compare restart/
  ],
  ['nothing to compare with', ['--compare', 'close', 'faulty.js'], /--compare needs a port/],
  ['a command line that is not understood', ['--every', 'x', 'faulty.js'], /--every must be a time/]
] as const)
  t.test(`with ${name} it can not be run`, async t => {
    const { code, stderr } = await rehearse(t, [...args])
    t.equal(code, 2)
    t.match(stderr, message)
  })
