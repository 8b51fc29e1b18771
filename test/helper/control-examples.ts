import { PassThrough } from 'node:stream'
import type { ConnectionCounts } from '../../lib/connections/state.js'
import type { Progress, Status, WorkerStatus } from '../../lib/control/messages.js'
import type { DrainReport } from '../../lib/drain/report.js'

/** What a running server tells of itself, and of an upgrade; and where a command writes it. */

export const now = Date.UTC(2030, 0, 1)

export const report: DrainReport = {
  refused: 0,
  longestPause: 12,
  kinds: {
    http1: { moved: 20, finished: 3, told: 0, cut: 0 },
    webSocket: { moved: 0, finished: 1, told: 2, cut: 1 }
  }
}

export const status: Status = {
  pid: 4709,
  mode: 'standalone',
  pluginVersion: '0.1.0',
  directory: '/srv/app',
  uptime: 93_784_000,
  state: 'upgrading',
  generations: [
    { generation: 2, pid: 4710, state: 'serving', ms: 61_000, connections: counts({ idle: 12, active: 3 }) },
    { generation: 3, pid: 4711, state: 'booting', ms: 449, connections: null }
  ],
  listeners: [{ key: 'tcp:localhost:3000', bound: '127.0.0.1:3000' }],
  upgrades: [
    { generation: 2, pid: 4710, at: now - 61_500, ms: 500, result: 'ready', report },
    {
      generation: 1,
      pid: 99,
      at: now - 7_200_000,
      ms: 40,
      result: 'GRACEFUL_UPGRADE_EXITED',
      message: 'it\u001b[31m ended\nearly'
    }
  ]
}

export const table = `pid        4709
mode       standalone
state      upgrading
uptime     1 d 2 h
directory  /srv/app
plugin     0.1.0

GENERATION  PID   STATE    FOR        IDLE  ACTIVE  FRESH  DETACHED
2           4710  serving  1 min 1 s  12    3       0      0
3           4711  booting  0.4 s      ?     ?       ?      ?

LISTENER            BOUND
tcp:localhost:3000  127.0.0.1:3000

UPGRADE  PID   AGE        TOOK   MOVED  KEPT  FINISHED  TOLD  CUT  RESULT
2        4710  1 min 1 s  0.5 s  20     0     4         2     1    ready
1        99    2 h 0 min  40 ms  -      -     -         -     -    GRACEFUL_UPGRADE_EXITED: it ended early
`

/** Of several workers, in an upgrade; the first of the old ones hasn't answered. */
export const team: Status = {
  ...status,
  mode: 'supervised',
  generations: [
    {
      ...{
        generation: 3,
        pid: 4720,
        state: 'serving',
        ms: 2_000,
        connections: counts({ idle: 28, active: 5 })
      },
      workers: [
        worker(0, 4720, { connections: counts({ idle: 25, active: 5 }), cpu: 0.981, elu: 0.954 }),
        worker(1, 4721, { connections: counts({ idle: 3 }), cpu: 0.02, elu: 0.01, restarts: 2 })
      ]
    },
    {
      ...{ generation: 2, pid: 4710, state: 'draining', ms: 1_900, connections: null },
      workers: [
        worker(0, 4710, { state: 'draining', connections: null, cpu: null, rss: null, elu: null }),
        worker(1, 4711, { state: 'draining', connections: counts({ detached: 2 }) })
      ]
    }
  ],
  balance: { moved: 1_234, closed: 5 }
}

export const workerTable = `WORKER  PID   GENERATION  STATE     IDLE  ACTIVE  FRESH  DETACHED  CPU   RSS     ELU  RESTARTS
0       4720  3           serving   25    5       0      0         98%   80 MB   95%  0
1       4721  3           serving   3     0       0      0         2%    80 MB   1%   2
0       4710  2           draining  ?     ?       ?      ?         ?     ?       ?    0
1       4711  2           draining  0     0       0      2         0%    80 MB   0%   0
total                               28    5       0      2         100%  240 MB  32%  2
`

function worker(index: number, pid: number, some: Partial<WorkerStatus>): WorkerStatus {
  const connections = counts({})
  return {
    ...{ worker: index, pid, state: 'serving', restarts: 0, connections, cpu: 0, rss: 80 * 2 ** 20, elu: 0 },
    ...some
  }
}

export function counts(some: Partial<ConnectionCounts>): ConnectionCounts {
  return { fresh: 0, idle: 0, active: 0, detached: 0, ...some }
}

export const booting: Progress = { stage: 'booting', generation: 3, pid: 4711 }
export const ready: Progress = { stage: 'ready', generation: 3, pid: 4711, ms: 400 }
export const retired: Progress = {
  stage: 'retired',
  generation: 2,
  pid: 4710,
  ms: 1_000,
  code: 0,
  signal: null,
  report: null
}

/** Of the next one, beside the old one. */
export function probation(
  left: number,
  candidate: number,
  errors = 0
): Extract<Progress, { stage: 'probation' }> {
  return {
    stage: 'probation',
    generation: 3,
    pid: 4711,
    left,
    candidate: { responses: candidate, errors },
    current: { responses: 10 * candidate, errors: 0 }
  }
}

export function draining(connections: ConnectionCounts | null): Progress {
  return { stage: 'draining', generation: 2, pid: 4710, connections }
}

/** A stream that remembers, plain or as a terminal of some size. */
export function sink(columns?: number, rows = 24) {
  const stream = new PassThrough().setEncoding('utf8')
  const written = () => (stream.read() as string | null) ?? ''
  return columns === undefined
    ? Object.assign(stream, { written })
    : Object.assign(stream, { written, isTTY: true, columns, rows })
}

/** What a terminal shows in the end: a line that is rewritten in place leaves nothing behind. */
export function screen(written: string): string[] {
  return written.split('\n').map(line => line.slice(line.lastIndexOf('\r') + 1).replace('\x1b[K', ''))
}
