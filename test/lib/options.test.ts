import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { GracefulUpgradeError } from '../../lib/errors.js'
import plugin, { serverOptions } from '../../lib/index.js'
import { refuseSupervision } from '../../lib/options/supervised.js'
import { defaultOptions, optionsOfEnvironment, resolveOptions, textOptions } from '../../lib/options.js'
import { application } from '../../lib/process/this-process.js'

const code = 'GRACEFUL_UPGRADE_INVALID_OPTION'
const longest = 1_000_000_000
const times = ['pollInterval', 'drainTimeout', 'closeTimeout', 'readyTimeout', 'claimTimeout'] as const

t.test('without options the defaults count', async t => {
  t.same(resolveOptions(), {
    pollInterval: 500,
    drainTimeout: 30_000,
    closeTimeout: 10_000,
    closeDelay: 0,
    close: false,
    readyTimeout: 60_000,
    claimTimeout: 5_000,
    check: false,
    checkTimeout: 5_000,
    handover: 'idle',
    spreadTime: 1_000,
    idleSpreadTime: false,
    reloadSignal: 'SIGHUP',
    closeSignals: ['SIGTERM', 'SIGINT'],
    retireSignal: 'SIGTERM',
    probation: 0,
    probationShare: 0.1,
    probationErrorRate: false,
    controlSocket: true
  })
  t.same(resolveOptions(undefined, {}), defaultOptions)
})

t.test('later options win over earlier ones, one by one', async t => {
  const resolved = resolveOptions({ drainTimeout: 1, closeTimeout: 2 }, { closeTimeout: 3 })
  t.same(resolved, { ...defaultOptions, drainTimeout: 1, closeTimeout: 3 })
})

t.test('undefined is no option', async t => {
  t.same(resolveOptions({ drainTimeout: 1 }, { drainTimeout: undefined, foo: undefined }), {
    ...defaultOptions,
    drainTimeout: 1
  })
})

t.test("Fastify's own options of register() are left alone", async t => {
  t.same(resolveOptions({ prefix: '/v1', logLevel: 'warn', logSerializers: {} }), defaultOptions)
})

t.test('what is allowed is taken', async t => {
  for (const given of [
    { pollInterval: 1, readyTimeout: 1 },
    { drainTimeout: 0, closeTimeout: 0, claimTimeout: 0 },
    { pollInterval: 1.5 },
    Object.fromEntries(times.map(name => [name, longest])),
    { handover: 'idle' },
    { handover: 'all' },
    { handover: false },
    { reloadSignal: 'SIGUSR2' },
    { reloadSignal: false },
    { retireSignal: 'SIGUSR2' },
    { retireSignal: false },
    { reloadSignal: false, retireSignal: 'SIGHUP' },
    { closeSignals: ['SIGQUIT'] },
    { closeSignals: [] },
    { closeSignals: false },
    { reloadSignal: 'SIGTERM', retireSignal: 'SIGINT', closeSignals: ['SIGINT'] },
    { reloadSignal: false, closeSignals: ['SIGHUP'] },
    { reloadSignal: 'SIGHUP', closeSignals: false }
  ]) {
    t.same(resolveOptions(given), { ...defaultOptions, ...given }, JSON.stringify(given))
  }
})

t.test('close is a function, or false; and no text', async t => {
  const close = async () => {}
  t.equal(resolveOptions({ close }).close, close)
  t.equal(resolveOptions({ close }, { close: false }).close, false)
  for (const value of [true, null, 'nest.close', {}])
    refuses(t, { close: value }, 'close must be a function, or false')
  refuses(t, optionsOfEnvironment({ GRACEFUL_UPGRADE_CLOSE: 'x' }), 'close must be a function, or false')
})

t.test('with two other times closeDelay is no longer than a timer can be', async t => {
  t.ok(100_000_000 + 2 * longest < 2 ** 31 - 60_000)
  t.equal(resolveOptions({ closeDelay: 100_000_000 }).closeDelay, 100_000_000)
  refuses(t, { closeDelay: 100_000_001 }, 'closeDelay must be a number of milliseconds from 0 to 100000000')
})

t.test('a time is a number of milliseconds within its limits', async t => {
  for (const name of times) {
    const least = name === 'pollInterval' || name === 'readyTimeout' ? 1 : 0
    for (const value of [
      least - 1,
      -1,
      '500',
      '',
      NaN,
      Infinity,
      -Infinity,
      longest + 1,
      1n,
      true,
      null,
      {}
    ]) {
      refuses(t, { [name]: value }, `${name} must be a number of milliseconds from ${least} to ${longest}`)
    }
  }
})

t.test('a check is a path, what inject() takes, or several', async t => {
  const whole = { url: '/a', method: 'POST', headers: { a: 'b' }, payload: { a: 1 }, statusCode: 201 }
  for (const check of [
    '/health',
    '/',
    { url: '/' },
    whole,
    ['/a', whole],
    { url: '/', method: undefined },
    false
  ])
    t.equal(resolveOptions({ check }).check, check, JSON.stringify(check))
  for (const check of [
    ...['health', '', 'http://localhost/health', true, null, 1, {}, [], [[]], ['/a', 'b'], [false]],
    ...[{ url: 'health' }, { method: 'GET' }, { path: '/' }, { url: '/', expect: 200 }],
    ...[
      { url: '/', method: '' },
      { url: '/', method: 5 },
      { url: '/', headers: ['a'] },
      { url: '/', payload: 5 }
    ],
    ...[
      { url: '/', statusCode: '200' },
      { url: '/', statusCode: 99 },
      { url: '/', statusCode: 200.5 }
    ]
  ])
    refuses(
      t,
      { check },
      "check must be a path such as '/health', { url, method, headers, payload, statusCode }"
    )
  t.same(optionsOfEnvironment({ GRACEFUL_UPGRADE_CHECK: 'false' }), { check: false })
  for (const text of ['health', '/a,', 'true'])
    t.throws(() => resolveOptions(optionsOfEnvironment({ GRACEFUL_UPGRADE_CHECK: text })), { code })
})

t.test('a check of the environment is that of the instance that was registered first', async t => {
  process.env.GRACEFUL_UPGRADE_CHECK = '/health'
  t.teardown(() => delete process.env.GRACEFUL_UPGRADE_CHECK)
  const checks = []
  for (const check of [false, false, '/own'] as const) {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(plugin, { check })
    checks.push([...application.instances].at(-1)!.options.check)
  }
  t.same(checks, [['/health'], false, '/own'])
})

t.test('handover is one of its words, or false', async t => {
  for (const handover of ['none', 'IDLE', '', true, null, 1, ['idle'], {}]) {
    refuses(t, { handover }, "handover must be 'idle', 'all' or false")
  }
})

t.test(
  'a reloadSignal or retireSignal is the name of a signal that can be listened for, or false',
  async t => {
    const bad = ['SIGFOO', 'HUP', 'sighup', '', 1, true, null, ['SIGHUP'], 'toString']
    const reserved = ['SIGKILL', 'SIGSTOP', 'SIGUSR1', 'SIGCHLD', 'SIGPROF']
    for (const signal of [...bad, ...reserved]) {
      for (const name of ['reloadSignal', 'retireSignal'])
        refuses(t, { [name]: signal }, `${name} must be a signal's name, or false`)
    }
  }
)

t.test('closeSignals are an array of such names, or false', async t => {
  const bad = [
    'SIGTERM',
    true,
    null,
    {},
    15,
    ['SIGTERM', 'SIGKILL'],
    ['TERM'],
    [15],
    [undefined],
    [['SIGTERM']]
  ]
  for (const closeSignals of bad) {
    refuses(
      t,
      { closeSignals },
      'closeSignals must be an array of SIGTERM, SIGINT, SIGQUIT, SIGUSR2, SIGHUP, or false'
    )
  }
})

t.test('no signal both upgrades and ends the server, or a worker', async t => {
  const words = 'closeSignals must not contain the reloadSignal'
  refuses(t, { closeSignals: ['SIGTERM', 'SIGHUP'] }, words)
  refuses(t, { reloadSignal: 'SIGINT' }, words)
  refuses(t, { retireSignal: 'SIGHUP' }, 'retireSignal must not be the reloadSignal')
  t.throws(() => resolveOptions({ reloadSignal: 'SIGUSR2' }, { closeSignals: ['SIGUSR2'] }), { code })
})

t.test('an unknown option is refused, and the known ones are told', async t => {
  refuses(
    t,
    { drainTimeOut: 5 },
    'drainTimeOut is unknown: did you mean drainTimeout?',
    ...Object.keys(defaultOptions)
  )
})

t.test('options are an object', async t => {
  for (const given of [null, [], ['drainTimeout'], 'drainTimeout', '', 5, false, () => {}]) {
    refuses(t, given, 'the options must be an object')
  }
})

t.test('the message shows the value that was given', async t => {
  refuses(t, { drainTimeout: '500' }, "but is '500'")
  refuses(t, { drainTimeout: -5 }, 'but is -5')
  refuses(t, { closeSignals: ['SIGFOO', 'SIGTERM'] }, "but is [ 'SIGFOO', 'SIGTERM' ]")
  refuses(t, null, 'but is null')
})

t.test('options of both places are checked', async t => {
  t.throws(() => resolveOptions({ drainTimeout: -1 }, { drainTimeout: 1 }), { code })
  t.throws(() => resolveOptions({ drainTimeout: 1 }, { drainTimeout: -1 }), { code })
})

t.test('register() rejects bad options', async t => {
  const app = Fastify()
  t.teardown(() => app.close())
  await t.rejects(async () => app.register(plugin, { drainTimeout: -1 }), {
    name: 'GracefulUpgradeError',
    code,
    message: /drainTimeout must be/
  })
})

for (const [depth, where] of ['the server itself', 'an encapsulated child', 'a child of a child'].entries()) {
  t.test(`the server options are read when ${where} registers the plugin`, async t => {
    const { drainTimeout, closeTimeout } = await registered({ drainTimeout: 1, closeTimeout: 2 })
    t.same({ drainTimeout, closeTimeout }, { drainTimeout: 1, closeTimeout: 3 }, 'those of register() win')
    await t.rejects(registered({ drainTimeout: -1 }), { code, message: /drainTimeout must be/ })
    await t.rejects(registered(null), { code, message: /the options must be an object/ })

    async function registered(gracefulUpgrade: any) {
      const app = Fastify(serverOptions({ logger: false, gracefulUpgrade }))
      t.teardown(() => app.close())
      registerAt(app, depth)
      await app.ready()
      return [...application.instances].at(-1)!.options
    }
  })
}

function registerAt(app: FastifyInstance, depth: number): void {
  if (depth === 0) void app.register(plugin, { closeTimeout: 3 })
  else void app.register(async child => registerAt(child, depth - 1))
}

function refuses(t: Test, given: unknown, ...words: string[]): void {
  try {
    resolveOptions(given)
    t.fail('nothing was thrown', { given })
  } catch (error) {
    t.type(error, GracefulUpgradeError)
    t.match(error, { name: 'GracefulUpgradeError', code })
    for (const word of words) t.ok((error as Error).message.includes(word), `'${error}' says '${word}'`)
  }
}

t.test('the control socket has a path, or a derived one, or none', async t => {
  for (const controlSocket of ['/run/app.sock', true, false])
    t.equal(resolveOptions({ controlSocket }).controlSocket, controlSocket)
  for (const controlSocket of ['', 1, null]) {
    t.throws(() => resolveOptions({ controlSocket }), { code: 'GRACEFUL_UPGRADE_INVALID_OPTION' })
  }
})

t.test('every option can come from the environment', async t => {
  const env = {
    GRACEFUL_UPGRADE_POLL_INTERVAL: '1',
    GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '2',
    GRACEFUL_UPGRADE_CLOSE_TIMEOUT: '3',
    GRACEFUL_UPGRADE_CLOSE_DELAY: '10',
    GRACEFUL_UPGRADE_READY_TIMEOUT: '4',
    GRACEFUL_UPGRADE_CLAIM_TIMEOUT: '5',
    GRACEFUL_UPGRADE_CHECK: '/health, /ready?deep=1',
    GRACEFUL_UPGRADE_CHECK_TIMEOUT: '8',
    GRACEFUL_UPGRADE_HANDOVER: 'false',
    GRACEFUL_UPGRADE_SPREAD_TIME: '6',
    GRACEFUL_UPGRADE_IDLE_SPREAD_TIME: '7',
    GRACEFUL_UPGRADE_RELOAD_SIGNAL: 'SIGUSR2',
    GRACEFUL_UPGRADE_CLOSE_SIGNALS: 'SIGINT, SIGQUIT',
    GRACEFUL_UPGRADE_RETIRE_SIGNAL: 'SIGINT',
    GRACEFUL_UPGRADE_PROBATION: '30000',
    GRACEFUL_UPGRADE_PROBATION_SHARE: '0.2',
    GRACEFUL_UPGRADE_PROBATION_ERROR_RATE: '0.05',
    GRACEFUL_UPGRADE_CONTROL_SOCKET: '/run/app.sock',
    DRAIN_TIMEOUT: '9'
  }
  const given = {
    pollInterval: 1,
    drainTimeout: 2,
    closeTimeout: 3,
    closeDelay: 10,
    readyTimeout: 4,
    claimTimeout: 5,
    check: ['/health', '/ready?deep=1'],
    checkTimeout: 8,
    handover: false,
    spreadTime: 6,
    idleSpreadTime: 7,
    reloadSignal: 'SIGUSR2',
    closeSignals: ['SIGINT', 'SIGQUIT'],
    retireSignal: 'SIGINT',
    probation: 30_000,
    probationShare: 0.2,
    probationErrorRate: 0.05,
    controlSocket: '/run/app.sock'
  }
  t.same(optionsOfEnvironment(env), given)
  t.same(Object.keys(given), textOptions, 'that is all there are')
  t.same(resolveOptions(optionsOfEnvironment(env)), { ...given, close: false })
})

t.test('a share is a number up to 1', async t => {
  t.match(resolveOptions({ probationShare: 1, probationErrorRate: 0 }), {
    probationShare: 1,
    probationErrorRate: 0
  })
  for (const probationShare of [0, 1.1, '10%', Number.NaN])
    t.throws(() => resolveOptions({ probationShare }), {
      code,
      message: /probationShare must be a number from 0.01 to 1/
    })
  t.throws(() => resolveOptions({ probationErrorRate: true }), { code, message: /from 0 to 1, or false/ })
})

t.test('idleSpreadTime is a time or false', async t => {
  for (const idleSpreadTime of [false, 0, 30_000] as const) {
    t.match(resolveOptions({ idleSpreadTime }), { idleSpreadTime })
    t.same(optionsOfEnvironment({ GRACEFUL_UPGRADE_IDLE_SPREAD_TIME: String(idleSpreadTime) }), {
      idleSpreadTime
    })
  }
  for (const idleSpreadTime of [true, -1, '1', null])
    t.throws(() => resolveOptions({ idleSpreadTime }), { code })
})

t.test('an empty variable is none, and nonsense is an error that names the option', async t => {
  t.same(optionsOfEnvironment({ GRACEFUL_UPGRADE_DRAIN_TIMEOUT: '' }), {})
  for (const text of ['soon', '30s', 'true', 'Infinity']) {
    t.throws(() => resolveOptions(optionsOfEnvironment({ GRACEFUL_UPGRADE_DRAIN_TIMEOUT: text })), {
      code: 'GRACEFUL_UPGRADE_INVALID_OPTION',
      message: /drainTimeout/
    })
  }
})

t.test('what only a supervised master can do is refused, with how to start one', async t => {
  const start = /graceful-upgrade --workers 4( --balance false)? server.js$/
  t.throws(() => resolveOptions({ workers: 4 }), { code, message: start })
  t.throws(() => resolveOptions({ balance: false }), { code, message: start })
  t.throws(() => resolveOptions({ maxMemory: '1G' }), { code, message: /--max-memory 512M server.js$/ })
})

t.test('several workers are refused where no master has started the process', async t => {
  const message =
    /GRACEFUL_UPGRADE_WORKERS needs a master .*: start the server by graceful-upgrade --workers 4/
  for (const GRACEFUL_UPGRADE_WORKERS of ['2', 'auto', 'x']) {
    t.throws(
      () => refuseSupervision({ GRACEFUL_UPGRADE_WORKERS }),
      { code, message },
      GRACEFUL_UPGRADE_WORKERS
    )
    const below = { GRACEFUL_UPGRADE_WORKERS, GRACEFUL_UPGRADE_WORKER: '1' }
    t.equal(refuseSupervision(below), undefined, 'a process that a worker has started is none itself')
  }
  for (const GRACEFUL_UPGRADE_WORKERS of ['1', ''])
    t.equal(refuseSupervision({ GRACEFUL_UPGRADE_WORKERS }), undefined)
  t.equal(refuseSupervision({}), undefined)
  for (const name of ['GRACEFUL_UPGRADE_MAX_MEMORY', 'GRACEFUL_UPGRADE_BALANCE'])
    t.throws(() => refuseSupervision({ [name]: '512M' }), {
      code,
      message: new RegExp(`${name} needs a master`)
    })

  process.env.GRACEFUL_UPGRADE_WORKERS = '4'
  t.teardown(() => delete process.env.GRACEFUL_UPGRADE_WORKERS)
  await t.rejects(async () => Fastify().register(plugin), { code, message }, 'the plugin looks')
})
