import { once } from 'node:events'
import net from 'node:net'

/** Each process of the tests has some ports of its own, below those that the system gives to whoever asks for any. */
const own = 100
const first = 15_000 + (process.pid % 170) * own
let given = 0

/** Ports that nobody listens on; nor will by chance, while a test waits to use them. */
export async function freePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = first + (given++ % own)
    if (await isFree(port, host)) ports.push(port)
  }
  return ports
}

export async function freePort(host?: string): Promise<number> {
  const [port] = await freePorts(1, host)
  return port!
}

async function isFree(port: number, host: string): Promise<boolean> {
  const server = net.createServer()
  try {
    await once(server.listen(port, host), 'listening')
  } catch {
    return false
  }
  await once(server.close(), 'close')
  return true
}
