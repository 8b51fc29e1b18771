import type { Status } from '../../lib/control.js'

/** What a supervised server could say of itself. */
export const status: Status = {
  pid: process.pid,
  mode: 'supervised',
  version: '0.1.0',
  directory: '/srv/app',
  uptime: 1,
  state: 'serving',
  generations: [],
  listeners: [],
  upgrades: []
}

export function never(): Promise<never> {
  return new Promise(() => {})
}

export const isRoot = process.geteuid?.() === 0
