import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { temporaryFolder } from './folder.ts'
import { Client } from './http-client.ts'
import { ended } from './program.ts'

/** By the name behind `graceful_upgrade_`, with its labels: `upgrades_total{result="failed"}`. */
export type Values = ReadonlyMap<string, number>

/** What a server says at `/metrics`, on a connection of its own. */
export async function scrape(port: number): Promise<string> {
  const { body } = await new Client({ host: '127.0.0.1', port }).get('/metrics', { Connection: 'close' })
  return body.toString()
}

export function valuesOf(text: string): Values {
  const samples = text.matchAll(/^graceful_upgrade_(\S+) (\S+)$/gm)
  return new Map([...samples].map(([, name, value]) => [name!, Number(value)]))
}

/** Metrics that are looked at again and again, and of which no counter may ever fall, or be gone. */
export function createWatch(look: () => Promise<string>) {
  let last: Values = new Map()
  return { values, until }

  async function values(): Promise<Values> {
    const now = valuesOf(await look())
    const counters = [...last].filter(([name]) => /_(total|count|sum)(\{|$)/.test(name))
    const fallen = counters.filter(([name, value]) => !((now.get(name) ?? -1) >= value))
    if (fallen.length > 0) throw new Error(`counters have fallen: ${JSON.stringify(fallen)}`)
    last = now
    return now
  }

  /** Looks until these are the values. */
  async function until(t: Test, expected: Readonly<Record<string, number>>): Promise<void> {
    const end = performance.now() + 60_000
    for (;;) {
      const now = await values()
      const others = Object.entries(expected).filter(([name, value]) => now.get(name) !== value)
      if (others.length === 0) return void t.pass(Object.keys(expected).join(', '))
      if (performance.now() > end) return void t.match(Object.fromEntries(now), expected)
      await sleep(20)
    }
  }
}

/**
 * What Prometheus' own tool says: its parser of OpenMetrics takes them in, and its linter, which reads the older format alone,
 * in which a counter is declared with its whole name, finds nothing. Both want more than their exit codes say: it is all told.
 */
export async function judgeByPrometheus(t: Test, text: string): Promise<{ parsed: string; linted: string }> {
  const folder = temporaryFolder(t)
  const file = path.join(folder, 'metrics')
  const time = Math.floor(Date.now() / 1_000) // it takes in the past, which says when
  writeFileSync(file, text.replace(/^(?!#)(.+)$/gm, `$1 ${time}`))
  const parsing = spawn('promtool', ['tsdb', 'create-blocks-from', 'openmetrics', file, folder])
  const parsed = await ended(parsing)
  const linting = spawn('promtool', ['check', 'metrics'])
  linting.stdin.end(text.replace(/^# (HELP|TYPE) (\S+)(?=.*\n(#.*\n)*\2_total)/gm, '# $1 $2_total'))
  const linted = await ended(linting)
  return { parsed: `${parsed.code}: ${parsed.output}`, linted: `${linted.code}: ${linted.output}` }
}
