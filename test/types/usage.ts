/** Never run: what compiles here, and what doesn't, is the test. */
import Fastify from 'fastify'
import gracefulUpgrade, {
  type ConnectionCounts,
  type GracefulUpgrade,
  type GracefulUpgradeState,
  type HoldUp,
  type Kept,
  type Status,
  serverOptions,
  type UpgradeResult
} from 'fastify-graceful-upgrade'

const app = Fastify(
  serverOptions({ logger: true, gracefulUpgrade: { pollInterval: 250, closeSignals: ['SIGTERM'] } })
)
await app.register(gracefulUpgrade)
await app.register(gracefulUpgrade, { drainTimeout: 20_000, reloadSignal: false, closeSignals: false })

const upgrade: GracefulUpgrade = app.gracefulUpgrade
upgrade.generation satisfies number
upgrade.state satisfies GracefulUpgradeState
upgrade.signal satisfies AbortSignal
upgrade.connections() satisfies ConnectionCounts
upgrade.connections().fresh satisfies number
const status = await upgrade.status()
status satisfies Status
for (const { state, workers, heldUpBy } of status.generations) {
  state satisfies 'booting' | 'probation' | 'serving' | 'closing' | 'draining'
  workers?.[0]?.rss satisfies number | null | undefined
  heldUpBy?.[0] satisfies HoldUp | undefined
}
;(await upgrade.metrics()) satisfies string
;(await upgrade.upgrade()) satisfies UpgradeResult
upgrade.ready()
if (upgrade.state === 'probation') await upgrade.rollback('it is bad')
upgrade.confirm() satisfies Promise<unknown>
await app.register(gracefulUpgrade, { probation: 30_000, probationShare: 0.2, probationErrorRate: false })
app.get('/events', (request, reply) => {
  const seat = upgrade.restored<{ at: number }>(request) ?? { at: 0 }
  upgrade.keep(reply.raw, request, () => seat, { maxState: 1_000, atRest: () => true })
    .moved satisfies boolean
  upgrade.keepSocket(
    request.raw.socket,
    request.raw,
    () => seat,
    () => Buffer.alloc(0)
  ) satisfies Kept
})
upgrade.onDrain(
  (reason, moves) => (moves(app.server) satisfies boolean) || (reason satisfies 'upgrade' | 'close')
)

const secure = Fastify(serverOptions({ https: { key: '', cert: '' }, gracefulUpgrade: { drainTimeout: 1 } }))
secure.server satisfies import('node:https').Server
await secure.register(gracefulUpgrade)
const http2 = Fastify(serverOptions({ http2: true, gracefulUpgrade: {} }))
await http2.register(gracefulUpgrade)

// @ts-expect-error an unknown option
await app.register(gracefulUpgrade, { drainTime: 1 })
// @ts-expect-error a string where a number belongs
await app.register(gracefulUpgrade, { drainTimeout: '1' })
// @ts-expect-error a reason belongs to it
await upgrade.rollback()
// @ts-expect-error no such signal
await app.register(gracefulUpgrade, { reloadSignal: 'SIGFOO' })
// @ts-expect-error a string where a number belongs, in the server options
Fastify(serverOptions({ gracefulUpgrade: { pollInterval: '1' } }))
// @ts-expect-error an unknown option in the server options
Fastify(serverOptions({ gracefulUpgrade: { pollIntervall: 1 } }))
// @ts-expect-error it is read only
app.gracefulUpgrade.generation = 2
Fastify(serverOptions({ gracefulUpgrade: { drainTimeout: 5 } }))
// @ts-expect-error an unknown option beside others
Fastify(serverOptions({ logger: true, gracefulUpgrade: { drainTimeOut: 5 } }))
