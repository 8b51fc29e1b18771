import net, { type Server } from 'node:net'

/** Servers whose listening socket is closed already when somebody calls their `close()`. */
const stopped = new WeakSet<Server>()

/** What is called when a server that listens does so no more. */
const watchers = new WeakMap<Server, () => void>()

/** Calls as soon as a server that listens accepts no more: its 'close' may be a long time off, as connections last. */
export function onceStopped(server: Server, call: () => void): void {
  makeCloseHoldable(server)
  watchers.set(server, call)
  server.once('close', () => tellIfStopped(server)) // its socket may be closed by other ways than its own close()
}

function tellIfStopped(server: Server): void {
  if (server.listening) return
  const call = watchers.get(server)
  watchers.delete(server)
  call?.()
}

/**
 * `http.Server#close()` would destroy responses that are not flushed yet, and stop the timer behind
 * `headersTimeout` and `requestTimeout`; net's only stops accepting. Whoever closes the server properly later
 * makes it emit 'close' once more.
 * @returns resolves when the last connection that it accepted itself has gone
 */
export function stopAccepting(server: Server): Promise<void> {
  return new Promise(resolve => {
    if (!server.listening) return resolve()
    stopped.add(server)
    server.once('close', () => resolve())
    net.Server.prototype.close.call(server)
    tellIfStopped(server)
  })
}

type CloseCallback = (error?: Error) => void

/** What was asked of servers whose `close()` is held. */
const heldCalls = new WeakMap<Server, (CloseCallback | undefined)[]>()

const holdable = new WeakSet<Server>()

/**
 * Lets `close()` of a server be held later. Done before it serves: a server that looks different to the optimizing
 * compiler from one moment to the next takes the optimized code from every request.
 */
export function makeCloseHoldable(server: Server): void {
  if (holdable.has(server)) return
  holdable.add(server)
  const { close } = server
  Object.defineProperty(server, 'close', {
    configurable: true,
    writable: true,
    value(this: Server, callback?: CloseCallback) {
      const calls = heldCalls.get(server)
      if (calls !== undefined) {
        calls.push(callback)
        return this
      }
      const result = close.call(this, forStopped(server, callback)) // the promise of an application's own, maybe
      tellIfStopped(server)
      return result
    }
  })
}

/** Who closes a server that a drain has stopped shall not hear that it isn't running: to them it is the first time. */
function forStopped(server: Server, callback?: CloseCallback): CloseCallback | undefined {
  return callback && stopped.has(server) && !server.listening ? () => callback() : callback
}

/**
 * While a server drains, its own `close()` waits, whoever calls it. Fastify closes its second server for
 * `localhost` the moment the first one has no connection left, not knowing of requests on the second.
 * @returns a function that makes up for the calls
 */
export function holdClose(server: Server): () => void {
  makeCloseHoldable(server)
  const calls: (CloseCallback | undefined)[] = []
  heldCalls.set(server, calls)
  return function release() {
    heldCalls.delete(server)
    for (const callback of calls) server.close(callback)
  }
}
