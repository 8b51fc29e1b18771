import t from 'tap'
import type { Listeners } from '../../../lib/listeners/listeners.js'
import { defaultOptions } from '../../../lib/options.js'
import type { Application } from '../../../lib/process/application.js'
import { generationHere } from '../../../lib/process/generation-here.js'
import { playBeside } from '../../helper/play/process.ts'

/** A generation whose application and process the test plays. */
function setUp(code: 0 | 1 = 0) {
  const calls: string[] = []
  const report = { refused: 0 }
  const application = {
    ending: false,
    options: { ...defaultOptions, probation: 30_000 },
    connections: () => 'counted',
    report: () => report,
    isClosing: false,
    async end(reason: string, how: { relay?: unknown } | undefined) {
      calls.push(`end ${reason}${how?.relay === relay ? ' with relay' : ''}`)
      return code
    },
    close: (onDrain: () => void) => {
      onDrain()
      return application.end('close', undefined)
    },
    hurry: () => calls.push('hurry') > 0
  }
  const open = [{ key: 'tcp::3000', bound: '0.0.0.0:3000', fd: 9 }]
  const upgrading = (value: boolean) => calls.push(`upgrading ${value}`)
  const listeners = { open: () => open, live: () => [], upgrading }
  const relay = async () => 'adopted' as const
  const options = {
    number: 3,
    application: application as unknown as Application,
    listeners: listeners as unknown as Listeners,
    checked: Promise.resolve(),
    beside: playBeside(calls),
    relay,
    onRetire: () => calls.push('onRetire'),
    orphans: { serve: () => true, ended: async () => void calls.push('others ended') }
  }
  const kill = (pid: number, signal: unknown) => calls.push(`kill ${pid} ${signal}`) > 0
  return { here: generationHere(options, { pid: 42, kill } as never), application, calls, open, report }
}

t.test('it is ready, and in the process that asks', async t => {
  const { here, open } = setUp()
  t.match(here, { number: 3, isHere: true })
  t.match(here.processes(), [{ worker: 0, pid: 42, state: 'serving' }])
  t.same(await here.ready, [])
  t.equal(here.listeners(), open)
  t.equal(await here.connections(), 'counted')
  t.same(await here.ticketKeys(), [])
})

t.test('when it retires its process is told first, and its connections go to the next one', async t => {
  const { here, calls, report } = setUp()
  t.same(await here.retire(), { code: 0, signal: null, report })
  t.same(calls, ['onRetire', 'end upgrade with relay', 'others ended'])
  t.same(await here.ended, { code: 0, signal: null })
})

t.test('close() ends it, with the code of its application', async t => {
  const { here, calls } = setUp(1)
  t.same(await here.close('SIGTERM'), { code: 1, signal: null })
  t.match(calls, [/^end close/, 'others ended'])
  t.same(await here.ended, { code: 1, signal: null })
})

t.test(
  'it gives a share to a generation on probation, and takes what comes back while it serves',
  async t => {
    const { here, calls, application } = setUp()
    t.match(here.probation, { time: 30_000, share: 0.1, errorRate: false })
    here.beside(0.2)
    t.same(await here.tally(), { responses: 7, errors: 1 })
    here.beside(null)
    t.same(calls, ['give 0.2', 'over'])
    const offer = { listener: { key: 'tcp::1', bound: '0.0.0.0:1' }, idleTime: null }
    const closed: string[] = []
    const handle = { close: () => closed.push('closed') } as never
    t.equal(await here.adopt(offer, handle), 'refused', 'nothing listens there')
    application.ending = true
    t.equal(await here.adopt(offer, handle), 'unavailable', 'the next one may take it')
    t.same(closed, ['closed', 'closed'])
  }
)

t.test('a signal for it is one for its process, and an upgrade is told to its listeners', async t => {
  const { here, calls } = setUp()
  here.signal('SIGUSR2')
  here.upgrading(true)
  t.same(calls, ['kill 42 SIGUSR2', 'upgrading true'])
})

t.test('a second signal is passed on to its application, and status says that it closes', async t => {
  const { here, calls, application } = setUp()
  application.isClosing = true
  t.match(here.processes(), [{ state: 'closing' }])
  t.ok(here.hurry())
  t.same(calls, ['hurry'])
})
