import { readFileSync, readlinkSync } from 'node:fs'
import { SocketAddress } from 'node:net'
import { endianness } from 'node:os'
import { GracefulUpgradeError } from '../errors.js'
import type { OpenListener } from '../listeners/address.js'

/** What systemd says to the main process of a service; a worker must not take it for its own. */
export const systemdVariables = [
  'LISTEN_FDS',
  'LISTEN_FDNAMES',
  'LISTEN_PID',
  'NOTIFY_SOCKET',
  'WATCHDOG_USEC',
  'WATCHDOG_PID'
] as const

/** A listening socket of a .socket unit; its key is `fd:N`. */
export interface SystemdListener extends OpenListener {
  /** FileDescriptorName= of the .socket unit, or the unit's own name. */
  readonly name?: string
}

/** SD_LISTEN_FDS_START */
const firstDescriptor = 3

/**
 * The sockets that systemd has passed on to this process: sd_listen_fds(3).
 * @param pid the process that they are for; where they are another one's, there are none
 * @throws GRACEFUL_UPGRADE_LISTEN_FDS if one of them isn't a listening stream socket
 */
export function listenersOfSystemd(env: NodeJS.ProcessEnv, pid: number): SystemdListener[] {
  const { LISTEN_FDS: count, LISTEN_PID: receiver, LISTEN_FDNAMES: names = '' } = env
  if (count === undefined || receiver !== String(pid)) return []
  if (!/^\d{1,5}$/.test(count)) throw unusable(`LISTEN_FDS is '${count}', which is no number`)
  if (process.platform !== 'linux' && Number(count) > 0) throw unusable('they are found on Linux only')

  const ours = listeningSockets('/proc/self/net')
  return Array.from({ length: Number(count) }, (_, index) => {
    const fd = firstDescriptor + index
    const name = names.split(':')[index]
    const inode = inodeOf(fd, name)
    // With PrivateNetwork=yes the socket is of systemd's network namespace, and not of ours.
    const bound = ours.get(inode) ?? listeningSockets('/proc/1/net').get(inode)
    if (bound === undefined) {
      const detail = 'no stream socket that listens: the .socket unit needs ListenStream= and Accept=no'
      throw unusable(`${spell(fd, name)} is ${detail}`)
    }
    return { key: `fd:${fd}`, bound, fd, isForeign: true, ...(name ? { name } : {}) }
  })
}

function inodeOf(fd: number, name: string | undefined): string {
  let target: string
  try {
    target = readlinkSync(`/proc/self/fd/${fd}`)
  } catch (error) {
    throw unusable(`${spell(fd, name)} is not open, though LISTEN_FDS says so`, error)
  }
  const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1]
  if (inode === undefined) throw unusable(`${spell(fd, name)} is no socket but ${target}`)
  return inode
}

function spell(fd: number, name: string | undefined): string {
  return name ? `descriptor ${fd} (${name})` : `descriptor ${fd}`
}

function unusable(detail: string, cause?: unknown): GracefulUpgradeError {
  return new GracefulUpgradeError('GRACEFUL_UPGRADE_LISTEN_FDS', detail, cause ? { cause } : {})
}

/**
 * Where the listening stream sockets of a network namespace are bound, by their inode: proc_net(5). To ask the
 * descriptor itself would need a handle of Node.js, and that closes the descriptor at its end.
 */
function listeningSockets(directory: string): Map<string, string> {
  const bound = new Map<string, string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const line of linesOf(`${directory}/${table}`)) {
      const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
      if (state === '0A') bound.set(inode, tcpAddress(local))
    }
  }
  for (const line of linesOf(`${directory}/unix`)) {
    const [, flags, type, inode = '', file = ''] =
      /^\S+ \S+ \S+ (\S+) (\S+) \S+ +(\d+) ?(.*)$/.exec(line) ?? []
    const listens = (Number.parseInt(flags ?? '', 16) & 0x10000) !== 0 // __SO_ACCEPTCON
    if (listens && type === '0001') bound.set(inode, file.replace(/^@/, '\0'))
  }
  return bound
}

/** @returns none where there is no such table: without IPv6, or with ProtectProc= */
function linesOf(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(1)
  } catch {
    return []
  }
}

/** @param local `0100007F:0BB8`: words of 32 bits in the order of this machine, then the port */
function tcpAddress(local: string): string {
  const [hex = '', port = ''] = local.split(':')
  const bytes = Buffer.from(hex, 'hex')
  if (endianness() === 'LE') bytes.swap32()
  const suffix = `:${Number.parseInt(port, 16)}`
  if (bytes.length === 4) return bytes.join('.') + suffix
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16))
  return `[${new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address}]${suffix}`
}
