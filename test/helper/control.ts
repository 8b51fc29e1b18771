import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import net, { type Socket } from 'node:net'
import path from 'node:path'
import type { Test } from 'tap'
import type { Status } from '../../lib/control/messages.js'
import { type Control, type ControlHandlers, openControl } from '../../lib/control/server.js'
import { temporaryFolder } from './folder.ts'

/** What a supervised server could say of itself. */
export const status: Status = {
  pid: process.pid,
  mode: 'supervised',
  pluginVersion: '0.1.0',
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

/** Of a master that does nothing else than say its status. */
export const handlers: ControlHandlers = {
  status: async () => status,
  metrics: never,
  reload: never,
  confirm: never,
  rollback: never,
  scale: never,
  stop: never
}

export const isRoot = process.geteuid?.() === 0

export const noMaster = { code: 'GRACEFUL_UPGRADE_NO_MASTER' }
export const unusable = { code: 'GRACEFUL_UPGRADE_CONTROL_SOCKET' }
export const lost = { code: 'GRACEFUL_UPGRADE_MASTER_LOST' }

/** A folder for one test, and what listens and connects in it: all of it has gone at the end of the test. */
export function controlFolder(t: Test) {
  const folder = temporaryFolder(t)
  chmodSync(folder, 0o755)
  return { folder, asked: path.join(folder, 'app.sock'), open, listen, pretend, connect }

  /** A real control socket; without a path where that of this process belongs. */
  async function open(where?: string | string[], some: Partial<ControlHandlers> = {}): Promise<Control> {
    const control = await openControl({ ...handlers, ...some }, where)
    t.teardown(() => control.close())
    return control
  }

  async function listen(file: string, onConnection: (socket: Socket) => void): Promise<void> {
    const server = net.createServer(socket => onConnection(socket.on('error', () => {})))
    t.teardown(() => new Promise(resolve => server.close(resolve)))
    await once(server.listen(file), 'listening')
  }

  /** A master that says just this to whatever it is asked. */
  async function pretend(file: string, answer: string): Promise<void> {
    await listen(file, socket => socket.once('data', () => socket.end(answer)))
  }

  async function connect(file: string): Promise<Socket> {
    const socket = net.connect({ path: file, allowHalfOpen: true })
    socket.on('error', () => {})
    t.teardown(() => void socket.destroy())
    await once(socket, 'connect')
    return socket
  }
}

/** All that comes until the end, which is a line of JSON each. */
export async function hear(socket: Socket): Promise<any[]> {
  let text = ''
  socket.on('data', chunk => {
    text += chunk
  })
  socket.on('end', () => socket.end())
  await closed(socket)
  const lines = text.split('\n')
  return lines.slice(0, -1).map(line => JSON.parse(line))
}

/** Also by an error. */
export function closed(socket: Socket): Promise<unknown> {
  return new Promise(resolve => socket.once('close', resolve))
}

export async function say(socket: Socket, text: string | Buffer): Promise<any[]> {
  socket.write(text)
  return await hear(socket)
}
