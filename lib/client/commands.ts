import type { Progress, Status } from '../control/messages.js'
import { namesOf } from '../drain/hold-up.js'
import { describeLoss } from '../drain/report.js'
import { GracefulUpgradeError } from '../errors.js'
import { printable, printableJson, printableLine } from '../printable.js'
import { ask } from './ask.js'
import { duration } from './duration.js'
import { findMaster } from './find.js'
import type { Screen } from './live-line.js'
import { createProgressView, describeWorkers, type ProgressView } from './progress-view.js'
import { statusTable } from './status-table.js'
import { askStatus, createPicture, statusTimeout, watchStatus } from './watch.js'

/** Where a command writes to: `process` is one. */
export interface Output {
  readonly stdout: Screen
  readonly stderr: NodeJS.WritableStream
}

/**
 * Upgrades a running server, and shows how it goes on. What was cut at the deadline is told.
 * @param options `failOnCut`: that is a failure; `noWait`: the end of a probation is not waited for
 * @returns the exit code: 0 once the old generation has retired, 1 if the upgrade failed, 130 after SIGINT, which
 * leaves it running
 */
export function runReload(
  target: string,
  { failOnCut, noWait = false }: { readonly failOnCut: boolean; readonly noWait?: boolean },
  output: Output
): Promise<number> {
  const view = createProgressView(output.stdout)
  return interruptible('the upgrade', target, output, view, async (file, signal) => {
    let loss: string | undefined
    const enough = new AbortController()
    const onProgress = (progress: Progress) => {
      view.show(progress)
      if (progress.stage === 'retired') loss = lossOf(progress)
      if (progress.stage === 'probation' && noWait) enough.abort()
    }
    await ask(file, 'reload', onProgress, AbortSignal.any([signal, enough.signal])).catch(error => {
      if (!enough.signal.aborted) throw error
    })
    if (loss === undefined) return
    const error = new GracefulUpgradeError('GRACEFUL_UPGRADE_CUT', loss)
    if (failOnCut) throw error
    output.stderr.write(`graceful-upgrade: warning: ${printableLine(error.message)}\n`)
  })
}

/** @returns what a generation that retired has not brought to an end, if anything */
function lossOf({ code, signal, report }: Extract<Progress, { stage: 'retired' }>): string | undefined {
  if (report) {
    const loss = describeLoss(report)
    const names = report.cutOff ? `: ${namesOf(report.cutOff)}` : ''
    return loss && `${loss}, when drainTimeout was over${names}`
  }
  if (signal == null && (code ?? 0) === 0) return undefined // of an older version, or there was nothing to say
  return `nobody knows how many, as it ended ${signal == null ? `with exit code ${code}` : `by ${signal}`}`
}

/**
 * Shows what a running server is doing.
 * @param options `watch`: again each second, in place on a terminal, until SIGINT, the end of the server, or nobody reads it any more
 * @returns the exit code: 0, or 1 if it can't be asked
 */
export async function runStatus(
  target: string,
  { json, watch = false }: { readonly json: boolean; readonly watch?: boolean },
  output: Output
): Promise<number> {
  const { stdout } = output
  const indent = watch ? 0 : 2
  const text = (status: Status) =>
    json ? `${jsonOf(status, indent)}\n` : statusTable(status, Date.now(), stdout.columns)
  try {
    const file = await findMaster(target)
    if (!watch) stdout.write(text(await askStatus(file)))
    else if (
      await untilInterrupted(stdout, signal => watchStatus(file, pictureOf(stdout, json, text), signal))
    )
      output.stderr.write('graceful-upgrade: the server has ended\n')
    return 0
  } catch (error) {
    return fail(error, output)
  }
}

/** Shows the metrics of a running server, for Prometheus. @returns the exit code: 0, or 1 if it can't be asked */
export async function runMetrics(target: string, output: Output): Promise<number> {
  try {
    const limit = AbortSignal.timeout(statusTimeout)
    output.stdout.write(printable(await ask(await findMaster(target), 'metrics', undefined, limit)))
    return 0
  } catch (error) {
    return fail(error, output)
  }
}

function pictureOf(stdout: Screen, json: boolean, text: (status: Status) => string) {
  const draw = json ? (line: string) => void stdout.write(line) : createPicture(stdout)
  let separator = ''
  return function show(status: Status): void {
    draw(separator + text(status))
    separator = json || stdout.isTTY ? '' : '\n'
  }
}

async function untilInterrupted<Result>(
  stdout: Screen,
  run: (signal: AbortSignal) => Promise<Result>
): Promise<Result> {
  const interruption = new AbortController()
  const interrupt = () => interruption.abort()
  process.once('SIGINT', interrupt)
  stdout.once('error', interrupt) // EPIPE: a pager has been left
  try {
    return await run(interruption.signal)
  } finally {
    process.off('SIGINT', interrupt)
    stdout.off('error', interrupt)
  }
}

function jsonOf(status: Status, indent: number): string {
  try {
    return printableJson(status, indent)
  } catch (cause) {
    const detail = 'its answer is nested too deeply to be shown'
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail, { cause })
  }
}

/**
 * Changes the number of a running server's workers, and shows how it goes on.
 * @param workers to so many; with a sign to so many more, or less
 * @returns the exit code: 0 once so many serve, 1 if that failed, 130 after SIGINT, which leaves it going on
 */
export function runScale(
  target: string,
  { workers }: { readonly workers: string },
  output: Output
): Promise<number> {
  const view = createProgressView(output.stdout)
  return interruptible('the change', target, output, view, async (file, signal) => {
    const serve = await ask(file, { command: 'scale', workers }, view.show, signal)
    view.line(`${describeWorkers(serve)} ${serve === 1 ? 'serves' : 'serve'}`)
  })
}

/**
 * Ends a probation before its time.
 * @returns the exit code: 0, or 1 if none is on it, it can't be asked, or one that was confirmed has failed
 */
export function runJudge(target: string, command: 'confirm' | 'rollback', output: Output): Promise<number> {
  const view = createProgressView(output.stdout)
  return interruptible(`the ${command}`, target, output, view, async (file, signal) => {
    await ask(file, command, undefined, signal)
    view.line(command === 'confirm' ? 'confirmed: the new generation serves alone' : 'rolled back')
  })
}

/** Ends a running server. @returns the exit code: 0 once its process has ended, 1 if it can't be asked, 130 as above */
export function runStop(target: string, output: Output): Promise<number> {
  const begun = performance.now()
  const view = createProgressView(output.stdout)
  return interruptible('the stop', target, output, view, async (file, signal) => {
    view.note(seconds => `stopping… ${seconds}`)
    await ask(file, 'stop', undefined, signal)
    view.line(`stopped after ${duration(performance.now() - begun)}`)
  })
}

async function interruptible(
  what: string,
  target: string,
  output: Output,
  view: ProgressView,
  run: (file: string, signal: AbortSignal) => Promise<void>
): Promise<number> {
  const interruption = new AbortController()
  const interrupt = () => interruption.abort()
  try {
    const file = await findMaster(target)
    process.once('SIGINT', interrupt)
    await run(file, interruption.signal)
    return 0
  } catch (error) {
    view.clear()
    if (!interruption.signal.aborted) return fail(error, output)
    output.stderr.write(`graceful-upgrade: not waiting any longer; ${what} goes on\n`)
    return 130
  } finally {
    view.clear()
    process.off('SIGINT', interrupt)
  }
}

function fail(error: unknown, { stderr }: Output): number {
  if (!(error instanceof GracefulUpgradeError)) throw error
  stderr.write(`graceful-upgrade: ${printable(error.message)} (${error.code})\n`)
  if (error.lastWords !== undefined) {
    stderr.write(
      `its last words:\n${printable(error.lastWords)
        .replace(/^(?=.)/gm, '  ')
        .trimEnd()}\n`
    )
  }
  return 1
}
