/** `graceful-upgrade rehearse`: a file of its own when it is built, as no server has a use for it. */

import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import type { Output } from '../client/commands.js'
import type { Screen } from '../client/live-line.js'
import { GracefulUpgradeError } from '../errors.js'
import { printable, printableJson } from '../printable.js'
import type { CommandLine } from '../supervisor/command-line.js'
import { version } from '../version.js'
import { htmlOf } from './html.js'
import { createLiveView } from './live-view.js'
import { type Mode, type Plan, planOf } from './plan.js'
import type { Report, RunReport } from './report.js'
import { runOnce } from './run.js'
import type { Start } from './server.js'
import { startOf } from './start.js'
import { summaryOf } from './summary.js'
import { loadUndici, type Undici } from './undici.js'
import { isPassed } from './verdict.js'

type Line = Extract<CommandLine, { command: 'rehearse' }>

/** What ends it before its time, with the exit codes of a shell. */
const interruptions: Readonly<Partial<Record<NodeJS.Signals, number>>> = {
  SIGINT: 130,
  SIGTERM: 143,
  SIGHUP: 129
}

/** It stands beside this file when both are built. */
const announcer = path.join(import.meta.dirname, 'announce.cjs')

/** Ctrl-C reaches this process twice where npx passes it on; in milliseconds. */
const sameSignal = 200

/**
 * Starts an application, loads it, upgrades it again and again, and says what its clients saw.
 * @param program `graceful-upgrade` itself
 * @returns the exit code: 0 if nothing failed; 1; 2 if it could not be run; 130 after SIGINT
 */
export async function runRehearsal(line: Line, program: string, output: Output): Promise<number> {
  const interruption = new AbortController()
  let code: number | undefined
  let at = 0
  const interrupt = (signal: NodeJS.Signals) => {
    if (code !== undefined) return performance.now() - at < sameSignal ? undefined : process.exit(code) // the guard ends the server
    at = performance.now()
    code = interruptions[signal]
    interruption.abort()
  }
  for (const signal of Object.keys(interruptions)) process.on(signal, interrupt)
  try {
    const plan = planOf(line.options)
    const start = (mode: Mode) => startOf(line.run, mode, { program, announcer })
    const undici = await loadUndici(start('upgrade').directory)
    const screen = plan.json ? silence(output) : output.stdout
    const runs = await runAll(plan, start, undici, screen, interruption.signal)
    const report = reportOf(plan, line, runs)
    output.stdout.write(
      plan.json ? `${printableJson(report, 2)}\n` : `\n${summaryOf(report, widthOf(output.stdout))}`
    )
    if (plan.html !== undefined) writeReport(plan.html, report)
    return code ?? (report.passed ? 0 : 1)
  } catch (error) {
    if (code !== undefined) return code
    return fail(error, output)
  } finally {
    for (const signal of Object.keys(interruptions)) process.off(signal, interrupt)
  }
}

async function runAll(
  plan: Plan,
  start: (mode: Mode) => Start,
  undici: Undici,
  screen: Screen,
  interruption: AbortSignal
): Promise<RunReport[]> {
  const runs: RunReport[] = []
  for (const mode of ['upgrade', ...plan.compare] as const) {
    const view = createLiveView(screen, mode)
    if (interruption.aborted) break
    const run = await runOnce({ plan, mode, start: start(mode), undici, view, interruption })
    if (run !== undefined) runs.push(run)
    else if (plan.compare.length === 0) throw notRegistered()
    else view.line(`No upgrade: ${withoutPlugin}. It is only compared.`)
  }
  return runs
}

const withoutPlugin =
  'the application listens, and has not registered fastify-graceful-upgrade, so it can not be upgraded'

function notRegistered(): GracefulUpgradeError {
  const detail = `${withoutPlugin}: register it before you listen; what a restart loses today is shown with --compare restart`
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_REHEARSAL', detail)
}

function reportOf(plan: Plan, { run }: Line, runs: readonly RunReport[]): Report {
  const { clients, pause, time, every, fresh, requests, latency } = plan
  const [own] = runs
  return {
    version: 1,
    passed: own !== undefined && isPassed(own, plan),
    command: run.words.join(' '),
    plugin: version(),
    node: process.version,
    cores: availableParallelism(),
    load: { clients, pause, time, every, fresh, requests: requests.map(({ name }) => name), latency },
    runs
  }
}

function writeReport(file: string, report: Report): void {
  try {
    writeFileSync(file, htmlOf(report))
  } catch (cause) {
    const detail = `the report can't be written to ${path.resolve(file)}: ${(cause as Error).message}`
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_REHEARSAL', detail, { cause })
  }
}

/** With `--json` all else is left out. */
function silence({ stdout }: Output): Screen {
  return Object.assign(Object.create(stdout), { isTTY: false, write: () => true })
}

/** A file has none: one thing is one line there. */
function widthOf({ columns }: Screen): number {
  return columns || Number.POSITIVE_INFINITY
}

function fail(error: unknown, { stderr }: Output): number {
  if (!(error instanceof GracefulUpgradeError)) throw error
  stderr.write(`graceful-upgrade: ${printable(error.message)} (${error.code})\n`)
  if (error.lastWords !== undefined)
    stderr.write(`its last words:\n${printable(error.lastWords).replace(/^(?=.)/gm, '  ')}\n`)
  return 2
}
