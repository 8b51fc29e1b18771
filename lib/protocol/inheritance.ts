import { readFileSync } from 'node:fs'
import { isAddress, type OpenListener } from '../listeners/address.js'

/** What a worker is born with, in the variable below. */
export interface Inheritance {
  readonly generation: number
  readonly listeners: readonly OpenListener[]
  /** The master's process. */
  readonly master: number
  /** The descriptor of the standard error that the master's own words go to; of use when the master is lost. */
  readonly standardError: number
  /** Whether another worker serves while this one starts: if the master is lost then, that one goes on alone. */
  readonly succeeds: 'worker' | 'master' | 'none'
  /** Which of its generation's workers it is, from 0 on. An older version has one. */
  readonly worker?: number
  /** So many there are at its start. */
  readonly workers?: number
}

export const inheritanceVariable = 'FASTIFY_GRACEFUL_UPGRADE'

/** What never gets from one generation's environment into the next one's by itself. */
export const privateVariables = [inheritanceVariable, 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE']

/**
 * Reads what a master has left for its worker. A child of the worker may have got the variable by accident: its
 * parent is not the master, which lives. Where the master is dead, the parent is whoever takes orphans.
 * @returns undefined where there is no variable, or it is not for this process
 */
export function readInheritance(
  variable: string | undefined,
  parent: number,
  isAlive: (pid: number) => boolean
): Inheritance | undefined {
  if (variable === undefined) return undefined
  try {
    const inheritance: unknown = JSON.parse(variable)
    if (!isInheritance(inheritance)) return undefined
    return inheritance.master === parent || !isAlive(inheritance.master) ? inheritance : undefined
  } catch {
    return undefined
  }
}

/** Whether a process was started by this master as a worker; false also where the system doesn't tell. */
export function isWorkerOf(pid: number, master: number): boolean {
  return mayBeWorkerOf(pid, master) === true
}

/** The same; undefined where the system doesn't tell, as of a process that has ended, or has changed its user. */
export function mayBeWorkerOf(pid: number, master: number): boolean | undefined {
  try {
    const variables = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
    const variable = variables.find(variable => variable.startsWith(`${inheritanceVariable}=`))
    return readInheritance(variable?.slice(inheritanceVariable.length + 1), master, () => true) !== undefined
  } catch {
    return undefined
  }
}

function isInheritance(value: unknown): value is Inheritance {
  const { generation, listeners, master, standardError } = (value ?? {}) as Partial<Inheritance>
  return (
    Number.isInteger(generation) &&
    Number.isInteger(master) &&
    Number.isInteger(standardError) &&
    Array.isArray(listeners) &&
    listeners.every(
      listener => isAddress(listener) && Number.isInteger((listener as Partial<OpenListener>).fd)
    )
  )
}
