import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { Test } from 'tap'

/**
 * A way to a server on which what the client sends is cut at random bytes, with pauses between.
 * @returns its port
 */
export async function choppy(t: Test, port: number): Promise<number> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(client => {
    const upstream = net.connect(port, '127.0.0.1').setNoDelay()
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    upstream.pipe(client)
    client.on('close', () => upstream.destroy())
    void pass(client, upstream)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

async function pass(from: net.Socket, to: net.Socket): Promise<void> {
  try {
    for await (let chunk of from as AsyncIterable<Buffer>) {
      while (chunk.length > 0) {
        const length = Math.random() < 0.5 ? 1 + Math.floor(Math.random() * 12) : chunk.length
        to.write(chunk.subarray(0, length))
        chunk = chunk.subarray(length)
        if (chunk.length > 0) await turn()
      }
    }
    to.end()
  } catch {} // the connection is gone
}
