import { GracefulUpgradeError } from '../errors.js'
import type { Generation, Judge } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { CheckFailure } from '../protocol/check-failure.js'
import type { Inquire } from '../protocol/inquire.js'
import type { UpgradeResult } from '../protocol/upgrade-result.js'
import { runMaster } from '../run-master.js'
import { type Host, thisHost } from '../signals/host.js'
import { generationHere } from './generation-here.js'
import { inquireHere } from './inquire-here.js'
import { createLentLog } from './lent-log.js'
import { createOrphans } from './orphans.js'
import type { ProcessContext, Role } from './role.js'
import { passSelfCheck } from './self-check.js'
import { installStandaloneSignals } from './standalone-signals.js'
import { whyUnsupported } from './supported.js'

/**
 * The process that was started, or a worker that has lost its master: it serves, and is the master too, from when an
 * instance listens until none is left. After its first upgrade it is nothing but the master.
 * @param options `isHeir`: it has served before, and is not checked any more
 */
export function createStandaloneRole(
  processContext: ProcessContext,
  { isHeir = false, host = thisHost }: { readonly isHeir?: boolean; readonly host?: Host } = {}
): Role {
  let mastership: Mastership | undefined
  return {
    async upgrade() {
      if (mastership === undefined) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING')
      return mastership.upgrade()
    },
    async judge(verdict, reason) {
      if (mastership === undefined) throw new GracefulUpgradeError('GRACEFUL_UPGRADE_NO_PROBATION')
      return mastership.judge(verdict, reason)
    },
    inquire: about => (mastership?.inquire ?? inquireHere(processContext))(about),
    installSignals() {
      mastership ??= takeMastership(processContext, isHeir, host)
    },
    removeSignals() {
      mastership?.leave()
      mastership = undefined
    }
  }
}

interface Mastership {
  upgrade(): Promise<UpgradeResult>
  readonly judge: Judge
  readonly inquire: Inquire
  leave(): void
}

function takeMastership(processContext: ProcessContext, isHeir: boolean, host: Host): Mastership {
  const { generation, team, application, listeners, beside, context, standardError } = processContext
  const { options } = application
  const log = createLentLog(application.log, () => running && logsFor(running))
  let running: Master | undefined
  /** From then on its own log may be a file that has been rotated. */
  let hasRetired = false
  /** An uncaught error ends this process alone: who serves beside it goes on. */
  let hasFailed = false
  const orphans = createOrphans(
    { generation, team, log, endTimeout: () => application.times.endTimeout },
    host
  )
  const over = new AbortController()
  /** It is not ended if that fails: it serves already, and nobody would take its place. But nobody is told that it is ready. */
  const checked = isHeir
    ? Promise.resolve()
    : passSelfCheck(application, { onFailure: onCheckFailure, over: over.signal })
  const here: Generation = generationHere({
    number: generation,
    application,
    listeners,
    checked,
    beside,
    relay: (offer, handle) => master.relay(here, offer, handle),
    onRetire() {
      hasRetired = true
      signals.retire()
      orphans.end() // they have no master, and would go on with the old version
    },
    orphans
  })
  const all = {
    close(signal: NodeJS.Signals | null, error?: Error) {
      hasFailed ||= error !== undefined
      return master.close(signal)
    },
    hurry: () => master.hurry(),
    abandon: () => master.abandon(),
    kill() {
      master.kill()
      orphans.kill()
    }
  }
  const signals = installStandaloneSignals(processContext, { master: () => all, isServing, log }, host)
  const { master, control, inquire, leave } = runMaster({
    mode: 'standalone',
    first: here,
    whyNot,
    log,
    options,
    standardError,
    context: () => context,
    stop: signals.stop
  })
  running = master
  master.events.once('closing', onClosing)
  processContext.servesAlone()
  control.catch(error => log.error({ err: error }, 'no control socket'))
  return {
    upgrade: master.upgrade,
    judge: master.judge,
    inquire,
    leave() {
      over.abort()
      signals.remove()
      master.abandon()
      leave()
    }
  }

  /** Nobody else tells those that a lost master has left behind; who ends last removes the files of Unix sockets. */
  function onClosing(): void {
    if (!hasFailed) orphans.end()
    listeners.share(hasFailed && orphans.serve())
  }

  /** From when all are closing none serves; then the newest one that is there yet, as its log is the one of today. */
  function logsFor({ serving, generations }: Master): Generation | undefined {
    if (hasRetired) return serving() ?? newestOf(generations())
    return undefined
  }

  function onCheckFailure(failure: CheckFailure): void {
    log.error({ generation, ...failure }, 'check failed')
  }

  function whyNot(): GracefulUpgradeError | undefined {
    const reason = whyUnsupported()
    if (reason !== undefined) return new GracefulUpgradeError('GRACEFUL_UPGRADE_UNSUPPORTED', reason)
    // The application closes itself: there is nothing to inherit, and the process may end with it.
    const serves = [...application.instances].some(({ state }) => state === 'serving')
    return isServing() && !serves ? new GracefulUpgradeError('GRACEFUL_UPGRADE_NOT_SERVING') : undefined
  }

  /** Whether this process is the one that serves. */
  function isServing(): boolean {
    return master.serving() === here
  }
}

/** In another process, and so far that it can log. */
function newestOf(entries: ReturnType<Master['generations']>): Generation | undefined {
  const others = entries.filter(({ generation, state }) => !generation.isHere && state !== 'booting')
  return others.map(({ generation }) => generation).sort((one, other) => other.number - one.number)[0]
}
