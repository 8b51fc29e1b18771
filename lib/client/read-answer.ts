/** Checks what comes from a control socket: whoever listens there may be no master, or another user's. */
import type {
  Answer,
  GenerationStatus,
  Progress,
  Refusal,
  Status,
  UpgradeRecord,
  WorkerStatus
} from '../control/messages.js'
import { isHoldUps } from '../drain/hold-up.js'
import { isDrainReport } from '../drain/report.js'

type Fields<T> = Partial<Record<keyof T, unknown>>

/** @returns undefined if it isn't an answer at all; 'unknown' if a later version may know it */
export function readAnswer(answer: unknown): Answer | 'unknown' | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined
  if ('result' in answer) return answer as Answer
  if ('progress' in answer) {
    if (!isKnownStage(answer.progress)) return 'unknown'
    return isProgress(answer.progress) ? (answer as Answer) : undefined
  }
  if ('error' in answer) return isRefusal(answer.error) ? (answer as Answer) : undefined
  return 'unknown'
}

export function isStatus(value: unknown): value is Status {
  const status = (value ?? {}) as Fields<Status>
  return (
    isId(status.pid) &&
    [status.mode, status.state, status.directory].every(isString) &&
    isOptional(status.pluginVersion, isString) &&
    isAmount(status.uptime) &&
    isListOf(status.generations, isGeneration) &&
    isListOf(status.listeners, isListener) &&
    isOptional(status.balance, isBalance) &&
    isOptional(
      status.probation,
      given => isProbation(given) && isId((given as Fields<Probation>).generation)
    ) &&
    isListOf(status.upgrades, isUpgrade)
  )
}

function isGeneration(value: unknown): boolean {
  const { generation, pid, state, ms, connections, heldUpBy, workers } = (value ??
    {}) as Fields<GenerationStatus>
  return (
    isId(generation) &&
    isPid(pid) &&
    isString(state) &&
    isAmount(ms) &&
    isCounts(connections) &&
    isOptional(heldUpBy, isHoldUps) &&
    isOptional(workers, list => isListOf(list, isWorker))
  )
}

function isWorker(value: unknown): boolean {
  const { worker, pid, state, restarts, connections, cpu, rss, elu } = (value ?? {}) as Fields<WorkerStatus>
  return (
    [worker, pid, restarts].every(isId) &&
    isString(state) &&
    isCounts(connections) &&
    [cpu, rss, elu].every(amount => amount === null || isAmount(amount))
  )
}

function isBalance(value: unknown): boolean {
  const { moved, closed } = value as Fields<NonNullable<Status['balance']>>
  return isId(moved) && isId(closed)
}

type Probation = NonNullable<Status['probation']>

function isProbation(value: unknown): boolean {
  const { left, candidate, current } = (value ?? {}) as Fields<Probation>
  return isAmount(left) && isTally(candidate) && isTally(current)
}

function isTally(value: unknown): boolean {
  const { responses, errors } = (value ?? {}) as Fields<Probation['candidate']>
  return isId(responses) && isId(errors)
}

function isListener(value: unknown): boolean {
  const { key, bound } = (value ?? {}) as Fields<Status['listeners'][number]>
  return isString(key) && isString(bound)
}

function isUpgrade(value: unknown): boolean {
  const { generation, pid, at, ms, result, message, report } = (value ?? {}) as Fields<UpgradeRecord>
  return (
    isId(generation) &&
    isPid(pid) &&
    isAmount(at) &&
    isAmount(ms) &&
    isString(result) &&
    isOptional(message, isString) &&
    isOptional(report, isDrainReport)
  )
}

function isKnownStage(progress: unknown): boolean {
  const { stage } = (progress ?? {}) as { readonly stage?: unknown }
  return stages.some(known => known === stage)
}

const stages: readonly Progress['stage'][] = [
  'booting',
  'worker',
  'unchecked',
  'probation',
  'scaling',
  'ready',
  'draining',
  'retired',
  'stopping'
]

function isProgress(value: unknown): value is Progress {
  const progress = (value ?? {}) as { [Field in 'stage' | 'generation' | 'pid']: unknown } & {
    [field: string]: unknown
  }
  if (progress.stage === 'stopping') return isId(progress.pid) && isOptional(progress.namespace, isString)
  if (progress.stage === 'scaling') return isId(progress.workers)
  if (!isId(progress.generation)) return false
  switch (progress.stage) {
    case 'booting':
      return isPid(progress.pid)
    case 'worker':
      return isId(progress.worker) && isId(progress.pid) && isAmount(progress.ms)
    case 'unchecked':
      return isOptional(progress.worker, isId) && [progress.request, progress.outcome].every(isString)
    case 'probation':
      return isId(progress.pid) && isProbation(progress)
    case 'ready':
      return isId(progress.pid) && isAmount(progress.ms)
    case 'draining':
      return isId(progress.pid) && isCounts(progress.connections) && isOptional(progress.heldUpBy, isHoldUps)
    case 'retired':
      return isId(progress.pid) && isAmount(progress.ms) && isEnding(progress)
    default:
      return false
  }
}

function isEnding({ code, signal, report }: { readonly [field: string]: unknown }): boolean {
  return isOptional(code, isId) && isOptional(signal, isSignal) && isOptional(report, isDrainReport)
}

function isRefusal(value: unknown): value is Refusal {
  const { code, message, lastWords } = (value ?? {}) as Fields<Refusal>
  return isString(code) && isString(message) && isOptional(lastWords, isString)
}

/** Null where the process doesn't answer. */
function isCounts(value: unknown): boolean {
  if (value === null) return true
  const counts = value as { readonly [state: string]: unknown } | undefined
  return ['fresh', 'idle', 'active', 'detached'].every(state => isId(counts?.[state]))
}

/** Or a number of something. */
export function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Null for a process that could not be started. */
function isPid(value: unknown): boolean {
  return value === null || isId(value)
}

/** Of time. */
function isAmount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function isSignal(value: unknown): boolean {
  return isString(value) && /^SIG[A-Z0-9+-]{1,12}$/.test(value)
}

/** A master of an older version has none. */
function isOptional(value: unknown, is: (value: unknown) => boolean): boolean {
  return value === undefined || value === null || is(value)
}

function isListOf(value: unknown, is: (value: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(is)
}
