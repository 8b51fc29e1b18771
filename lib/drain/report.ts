import type { ConnectionKind } from '../connections/connection.js'
import { firstOf, type HoldUp, isHoldUps } from './hold-up.js'

/** How many connections of one kind went which way. */
export interface Fate {
  /** To the next generation, open. */
  readonly moved: number
  /** There, too, but in the middle of something, as `keep()` had asked for. An older version doesn't say so. */
  readonly kept?: number
  /** To their end, in time. */
  readonly finished: number
  /** Of those that ended here: by GOAWAY or a WebSocket's close frame they were told to. */
  readonly told: number
  /** To a hard end at the deadline. */
  readonly cut: number
  /** Of those cut: nothing was under way on them, so that nothing was lost. An older version doesn't say so. */
  readonly cutIdle?: number
}

/** What became of the connections that were open when a drain began. */
export interface DrainReport {
  /** Whose next owner would not take them: they ended here. */
  readonly refused: number
  /** The longest time in which nobody read a connection that was moved, in milliseconds. */
  readonly longestPause: number
  /** Only the kinds that there were. */
  readonly kinds: Readonly<Partial<Record<ConnectionKind, Fate>>>
  /** Some of those that were cut in the middle of something, by their names, as many as are named. */
  readonly cutOff?: readonly HoldUp[]
}

const kinds: readonly ConnectionKind[] = ['http1', 'http2', 'webSocket', 'other']

const names: Readonly<Record<ConnectionKind, string>> = {
  http1: 'HTTP/1.1 request',
  http2: 'HTTP/2 session',
  webSocket: 'WebSocket',
  other: 'other connection'
}

export const ways = ['moved', 'kept', 'finished', 'told', 'cut'] as const

/** The sum of several drains, or undefined of none. */
export function sumReports([first, ...others]: readonly DrainReport[]): DrainReport | undefined {
  return first && others.reduce(sum, first)
}

function sum(one: DrainReport, other: DrainReport): DrainReport {
  const some = kinds.filter(kind => one.kinds[kind] ?? other.kinds[kind])
  return {
    refused: one.refused + other.refused,
    longestPause: Math.max(one.longestPause, other.longestPause),
    kinds: Object.fromEntries(some.map(kind => [kind, add(one.kinds[kind], other.kinds[kind])])),
    ...nameCut([...(one.cutOff ?? []), ...(other.cutOff ?? [])])
  }
}

/** As a report, or a log line, names what was cut; nothing where there is nothing. */
export function nameCut(cut: readonly HoldUp[] = []): Pick<DrainReport, 'cutOff'> {
  return cut.length === 0 ? {} : { cutOff: firstOf(cut) }
}

/** All kinds together. */
export function totalFate({ kinds }: Pick<DrainReport, 'kinds'>): Fate {
  return Object.values(kinds).reduce(add, noFate)
}

const noFate: Fate = { moved: 0, finished: 0, told: 0, cut: 0 }

function add(one: Fate = noFate, other: Fate = noFate): Fate {
  return {
    moved: one.moved + other.moved,
    finished: one.finished + other.finished,
    told: one.told + other.told,
    cut: one.cut + other.cut,
    ...some({
      kept: (one.kept ?? 0) + (other.kept ?? 0),
      cutIdle: (one.cutIdle ?? 0) + (other.cutIdle ?? 0)
    })
  }
}

/** What is said only where there are some. */
export function some({ kept, cutIdle }: Rare & object): Partial<Rare> {
  return { ...(kept > 0 && { kept }), ...(cutIdle > 0 && { cutIdle }) }
}

type Rare = Required<Pick<Fate, 'kept' | 'cutIdle'>>

/** @returns what was cut in the middle of something: `2 HTTP/1.1 requests, 1 WebSocket`; undefined if nothing was */
export function describeLoss({ kinds: fates }: Pick<DrainReport, 'kinds'>): string | undefined {
  const losses = kinds.flatMap(kind => {
    const { cut, cutIdle = 0 } = fates[kind] ?? noFate
    const count = cut - cutIdle
    return count > 0 ? [`${count} ${names[kind]}${count === 1 ? '' : 's'}`] : []
  })
  return losses.length === 0 ? undefined : losses.join(', ')
}

/** Of a report that another process sends. */
export function isDrainReport(value: unknown): value is DrainReport {
  const report = value as Partial<DrainReport> | null | undefined
  if (typeof report?.kinds !== 'object' || report.kinds === null) return false
  const fates: readonly (Partial<Fate> | null)[] = Object.values(report.kinds)
  const numbers = fates.flatMap(fate => [fate?.moved, fate?.finished, fate?.told, fate?.cut])
  const rare = fates.flatMap(fate => [fate?.kept ?? 0, fate?.cutIdle ?? 0])
  if (report.cutOff !== undefined && !isHoldUps(report.cutOff)) return false
  return [report.refused, report.longestPause, ...numbers, ...rare].every(isNumber)
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER
}

/** Why a generation is on its way out: a next one serves, or nobody follows. */
export type DrainReason = 'upgrade' | 'close'
