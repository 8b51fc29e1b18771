import { GracefulUpgradeError } from '../errors.js'
import type { Log } from '../log.js'
import { now } from '../time/clock.js'
import { type Generation, nameOf } from './generation.js'

export interface BalanceCounts {
  /** Connections that were given from one worker to another, open. */
  moved: number
  /** Connections that were told by `Connection: close` to come again. */
  closed: number
}

/** What a master is told that runs several workers. */
export interface TeamOptions {
  /** So many begin. */
  readonly workers: number
  /** What has been done to even out their load since the master began. */
  readonly balanced: Readonly<BalanceCounts>
}

/** Is told how many workers serve: first those that there are, then each time that this has changed. */
export type OnScaled = (workers: number) => void

/** How many workers there are to be, and the change of that. */
export interface Scaling {
  /** So many are wanted now, also of each later generation. */
  readonly workers: number
  scale(workers: number, onProgress?: OnScaled): Promise<number>
  /** Starts those workers that are missing in a generation that has had to serve without them. */
  complete(generation: Generation): void
  isUnderWay(): boolean
}

export interface ScalingOptions {
  readonly log: Log
  readonly team: TeamOptions | undefined
  /** The generation that serves. @throws why it must be left alone now */
  serving(): Generation
}

/** More is a mistake. */
export const mostWorkers = 1_024

export function createScaling({ log, team, serving }: ScalingOptions): Scaling {
  let wanted = team?.workers ?? 1
  /** A change, and how many workers it has come to. */
  let underWay: { reached: number } | undefined
  return {
    get workers() {
      return wanted
    },
    async scale(workers, onProgress) {
      return change(whoScales(workers), workers, onProgress)
    },
    complete(generation) {
      if (wanted === 1 || !isScalable(generation)) return
      change(generation, wanted).catch(() => {}) // it has been logged
    },
    isUnderWay: () => underWay !== undefined
  }

  function whoScales(workers: number): ScalableGeneration {
    try {
      return check(workers)
    } catch (error) {
      log.warn({ err: error, workers }, 'scaling refused')
      throw error
    }
  }

  function check(workers: number): ScalableGeneration {
    if (!Number.isInteger(workers) || workers < 1 || workers > mostWorkers)
      throw refusal('USAGE', `there can be from 1 to ${mostWorkers} workers, not ${workers}`)
    if (team === undefined) throw unsupported()
    if (underWay !== undefined) throw refusal('IN_PROGRESS')
    const generation = serving()
    if (!isScalable(generation)) throw unsupported()
    return generation
  }

  async function change(generation: ScalableGeneration, workers: number, onProgress?: OnScaled) {
    const begun = now()
    const way = { reached: wanted }
    underWay = way
    wanted = workers
    onProgress?.(way.reached)
    try {
      const serve = await generation.scale(workers, reached => {
        way.reached = reached
        onProgress?.(reached)
      })
      log.info({ ...nameOf(generation), workers: serve, ms: Math.round(now() - begun) }, 'scaled')
      return serve
    } catch (error) {
      wanted = way.reached
      log.error({ ...nameOf(generation), err: error, workers: way.reached }, 'scaling failed')
      throw error
    } finally {
      underWay = undefined
    }
  }
}

type ScalableGeneration = Generation & Required<Pick<Generation, 'scale'>>

function isScalable(generation: Generation): generation is ScalableGeneration {
  return generation.scale !== undefined
}

function unsupported(): GracefulUpgradeError {
  return refusal('UNSUPPORTED', 'start the server by graceful-upgrade --workers 4 server.js')
}

function refusal(code: 'USAGE' | 'UNSUPPORTED' | 'IN_PROGRESS', detail?: string): GracefulUpgradeError {
  return new GracefulUpgradeError(`GRACEFUL_UPGRADE_${code}`, detail)
}
