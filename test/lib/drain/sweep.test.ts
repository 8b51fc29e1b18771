/** Connections of a real server in this process; the handover is played. */
import { setMaxListeners } from 'node:events'
import t from 'tap'
import { type Connection, connectionOf } from '../../../lib/connections/connection.js'
import { isLingering } from '../../../lib/connections/ending.js'
import type { DrainReason } from '../../../lib/drain/report.js'
import { createSweeper, type SweeperOptions } from '../../../lib/drain/sweep.js'
import type { Handover } from '../../../lib/handover/handover.js'
import { type Accepted, type Followed, followHttp, request, until } from '../../helper/accepted.ts'
import { standStill } from '../../helper/stand-still.ts'

interface Played extends Handover {
  readonly considered: (readonly [Connection, string])[]
  readonly rechecked: Connection[]
  readonly stay: Set<Connection>
}

function playHandover(): Played {
  const considered: [Connection, string][] = []
  const rechecked: Connection[] = []
  const stay = new Set<Connection>()
  return {
    ...{ considered, rechecked, stay },
    give: async () => undefined,
    consider: (connection, state) => void considered.push([connection, state]),
    answered: connection => void rechecked.push(connection),
    canGoNow: connection => !stay.has(connection),
    staysHere: connection => stay.has(connection),
    report: { moved: 0, refused: 0, longestPause: 0 }
  }
}

function sweep({ list }: Followed, reason: DrainReason, options: Partial<SweeperOptions> = {}) {
  const over = new AbortController()
  setMaxListeners(0, over.signal)
  const seen: Connection[] = []
  let isEmpty = false
  const sweeper = createSweeper({
    lists: [list],
    handover: undefined,
    tally: { see: connection => void seen.push(connection) },
    reason: () => reason,
    idleSpreadTime: false,
    pollInterval: 500,
    deadline: performance.now() + 60_000,
    over: over.signal,
    onEmpty() {
      isEmpty = true
    },
    ...options
  })
  return { ...sweeper, seen, over, isEmpty: () => isEmpty }
}

async function idle({ list, connect }: Followed): Promise<Accepted> {
  const accepted = await connect()
  await accepted.get()
  await until(() => [...list.states([accepted.socket])][0]?.[1] === 'idle')
  return accepted
}

t.test('where nobody follows, what is idle is ended, and what is fresh or active is not', async t => {
  const served = await followHttp(t)
  const [ending, fresh, active] = [await idle(served), await served.connect(), await served.connect()]
  active.client.write(request('/later'))
  await until(() => active.socket.bytesRead > 0)
  const { sweepAll, seen } = sweep(served, 'close')
  t.same(await sweepAll(), { fresh: 1, idle: 0, active: 2, detached: 0 }, 'what lingers counts as active')
  t.same(
    [ending, fresh, active].map(({ socket }) => isLingering(socket)),
    [true, false, false]
  )
  t.same(
    seen,
    [ending, fresh, active].map(({ socket }) => connectionOf(socket))
  )
})

t.test('on an upgrade all that may move is offered, and none is ended', async t => {
  const served = await followHttp(t)
  const [moves, stays] = [await idle(served), await idle(served)]
  const handover = playHandover()
  handover.stay.add(connectionOf(stays.socket))
  const { sweepAll } = sweep(served, 'upgrade', { handover })
  t.match(await sweepAll(), { idle: 2 }, 'one that stays waits for a request more')
  t.same(handover.considered, [[connectionOf(moves.socket), 'idle']])
})

t.test('what stays on an upgrade is ended over idleSpreadTime, if there is one', async t => {
  const served = await followHttp(t)
  const [moves, stays] = [await idle(served), await idle(served)]
  const handover = playHandover()
  handover.stay.add(connectionOf(stays.socket))
  const { sweepAll } = sweep(served, 'upgrade', { handover, idleSpreadTime: 0 })
  await sweepAll()
  t.same(
    [moves, stays].map(({ socket }) => isLingering(socket)),
    [false, true]
  )
})

t.test('nobody touches a connection that is away, whatever the reason', async t => {
  const served = await followHttp(t)
  const { socket } = await idle(served)
  connectionOf(socket).phase = { name: 'away' }
  const { sweepAll } = sweep(served, 'close')
  t.match(await sweepAll(), { idle: 1 })
  t.equal(isLingering(socket), false)
})

t.test(
  'one that has just been answered is the business of the handover, or of the next look here',
  async t => {
    const served = await followHttp(t)
    const [moves, stays] = [await idle(served), await idle(served)]
    const handover = playHandover()
    handover.stay.add(connectionOf(stays.socket))
    const onUpgrade = sweep(served, 'upgrade', { handover })
    for (const { socket } of [moves, stays]) onUpgrade.answered(connectionOf(socket))
    t.same(handover.rechecked, [connectionOf(moves.socket)])

    const onClose = sweep(served, 'close', { handover })
    for (const { socket } of [moves, stays]) onClose.answered(connectionOf(socket))
    await until(() => isLingering(moves.socket) && isLingering(stays.socket))
    t.equal(handover.rechecked.length, 1)
    t.equal(onClose.isEmpty(), false)
  }
)

t.test('the end of the last connection is noticed between two sweeps, and not that of another', async t => {
  const served = await followHttp(t)
  const [one, other] = [await served.connect(), await served.connect()]
  const { ended, isEmpty, over } = sweep(served, 'close')
  served.list.on('ended', ended)
  one.socket.destroy()
  await until(() => served.list.sockets.size === 1)
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  t.equal(isEmpty(), false)
  other.socket.destroy()
  await until(isEmpty)
  over.abort()
})

t.test('what has come while the process stood still is no idle connection', async t => {
  const served = await followHttp(t)
  const { client, socket } = await idle(served)
  const sweeper = sweep(served, 'close')
  const paused = sweeper.pause()
  client.write(request('/later'))
  standStill(20)
  await paused
  t.match(await sweeper.sweepAll(), { idle: 0, active: 1 })
  t.notOk(isLingering(socket))
})

t.test('the pauses double up to pollInterval, and end with the drain, or at its deadline', async t => {
  const served = await followHttp(t)
  const { pause } = sweep(served, 'close', { pollInterval: 32 })
  for (const least of [1, 2, 4, 8, 16, 32, 32, 32]) {
    const begun = performance.now()
    await pause()
    t.ok(performance.now() - begun > least - 1, `${least} ms`)
  }
  const begun = performance.now()
  const long = sweep(served, 'close', { pollInterval: 60_000 })
  const atDeadline = sweep(served, 'close', { pollInterval: 60_000, deadline: begun })
  const pauses = Array.from({ length: 17 }, () => [long.pause(), atDeadline.pause()]) // the last ones would be a minute
  long.over.abort()
  await Promise.all(pauses.flat())
  t.ok(performance.now() - begun < 20_000)
})
