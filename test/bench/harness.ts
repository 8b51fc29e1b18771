/** What the benchmarks share: settings, connections, and numbers from many numbers. */
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { loadavg } from 'node:os'

export const host = '127.0.0.1'
export const request = 'GET / HTTP/1.1\r\nHost: bench\r\n\r\n'
export const closingBrace = 0x7d // the last byte of an answer, and nowhere else in it

/** A positive number of the environment. */
export function setting(name: string, byDefault: number): number {
  const value = Number(process.env[name] ?? byDefault)
  if (!(value > 0)) throw new Error(`${name} must be a number above 0`)
  return value
}

/** Whatever hangs: the servers end with this process. */
export function giveUpAfter(milliseconds: number): void {
  const timer = setTimeout(() => {
    console.error(`given up after ${milliseconds / 1_000} s`)
    process.exit(1)
  }, milliseconds)
  timer.unref()
}

export function loadAverage(): string {
  return loadavg()
    .map(value => value.toFixed(1))
    .join(' ')
}

/** Client and server each need one per connection; a server inherits the limit of this process. */
export function requireDescriptors(needed: number): void {
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files: { soft: number | 'unlimited' } }
  }
  const limit = userLimits?.open_files.soft ?? 'unlimited'
  if (limit === 'unlimited' || limit >= needed) return
  console.error(
    `${needed} file descriptors are needed, the limit is ${limit}: raise it (ulimit -n), or set CONNECTIONS`
  )
  process.exit(1)
}

/** Opens connections, and each gets one answer. A hundred at once is less than a server's backlog holds. */
export async function open(port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  await Promise.all(
    Array.from({ length: 100 }, async () => {
      while (sockets.length < count) {
        const socket = net.connect({ host, port, noDelay: true })
        socket.on('end', () => socket.destroy(new Error('the server ended a connection')))
        sockets.push(socket)
        socket.write(request)
        const [answer] = await once(socket, 'data')
        if (!String(answer).startsWith('HTTP/1.1 200')) throw new Error(`the server answered: ${answer}`)
      }
    })
  )
  return sockets
}

/** A reset leaves no port in TIME_WAIT, of which there would be many. */
export function close(sockets: readonly Socket[]): void {
  for (const socket of sockets) socket.resetAndDestroy()
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2
}
