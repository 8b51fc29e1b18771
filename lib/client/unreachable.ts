/** Why a master can't be asked: each of these says what to do. */

import { lstatSync } from 'node:fs'
import path from 'node:path'
import { GracefulUpgradeError } from '../errors.js'

export function noMaster(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_NO_MASTER', detail)
}

export function unusable(detail: string): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_CONTROL_SOCKET', detail)
}

/** @param code of the error of connecting to a control socket */
export function connectError(file: string, code: string): GracefulUpgradeError {
  if (code === 'ECONNREFUSED' || code === 'ENOENT') return noMaster(`nobody listens on ${file} (${code})`)
  if (code === 'EACCES' || code === 'EPERM') return forbidden(file)
  return unusable(`connecting to ${file} failed (${code})`)
}

/** Whose it is says the file, or the first directory above it that may be seen. */
export function forbidden(file: string): GracefulUpgradeError {
  try {
    return notYours(file, lstatSync(file).uid)
  } catch {
    return forbidden(path.dirname(path.resolve(file)))
  }
}

export function notYours(what: string, uid: number): GracefulUpgradeError {
  return unusable(`${what} belongs to uid ${uid}: ask as this user, or as root`)
}
