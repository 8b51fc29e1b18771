import net, { type Server } from 'node:net'

/**
 * `http.Server#close()` would destroy responses that are not flushed yet, and stop the timer behind
 * `headersTimeout` and `requestTimeout`; net's only stops accepting. Whoever closes the server properly later
 * makes it emit 'close' once more.
 * @returns resolves when the last connection that it accepted itself has gone
 */
export function stopAccepting(server: Server): Promise<void> {
  return new Promise(resolve => {
    if (!server.listening) return resolve()
    server.once('close', () => resolve())
    net.Server.prototype.close.call(server)
  })
}

/**
 * While a server drains, its own `close()` waits, whoever calls it. Fastify closes its second server for
 * `localhost` the moment the first one has no connection left, not knowing of requests on the second.
 * @returns a function that makes up for the calls
 */
export function holdClose(server: Server): () => void {
  const calls: ((error?: Error) => void)[] = []
  const own = Object.getOwnPropertyDescriptor(server, 'close')
  Object.defineProperty(server, 'close', {
    configurable: true,
    writable: true,
    value(this: Server, callback: (error?: Error) => void = () => {}) {
      calls.push(callback)
      return this
    }
  })
  return function release() {
    if (own) Object.defineProperty(server, 'close', own)
    else delete (server as Partial<Server>).close
    for (const callback of calls) server.close(callback)
  }
}
