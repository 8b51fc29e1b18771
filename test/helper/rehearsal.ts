import type { Report, RunReport } from '../../lib/rehearsal/report.js'

/** What a rehearsal has come to in which nothing went wrong. */
export const rehearsed: RunReport = {
  mode: 'upgrade',
  target: 'HTTP/1.1 on 127.0.0.1:3000',
  requests: 12_431,
  failures: 0,
  losses: 0,
  kinds: {},
  groups: [],
  clients: 50,
  reconnects: 0,
  reconnected: 0,
  changes: [
    { number: 1, at: 500, boot: 400, drain: 20, generation: 2, answers: 900, failures: 0, reconnects: 0 }
  ],
  around: { answers: 900, p50: 1, p99: 4, p999: 12, longest: 15 },
  calm: { answers: 11_531, p50: 1, p99: 2, p999: 3, longest: 4 },
  timeline: {
    step: 250,
    answers: [10, 10, 10, 10],
    failures: [0, 0, 0, 0],
    p50: [1, 1, 1, 1],
    p99: [2, 2, 4, 2],
    longest: [2, 3, 15, null]
  },
  stays: [],
  clientDelay: { p99: 1, longest: 4 },
  findings: []
}

export function reportOf(...runs: RunReport[]): Report {
  const load = {
    clients: 50,
    pause: [0, 100],
    time: 20_000,
    every: 3_000,
    fresh: 0,
    requests: ['GET /'],
    latency: 1
  } as const
  return { version: 1, passed: true, command: 'server.js', plugin: '1', node: 'v1', cores: 2, load, runs }
}
