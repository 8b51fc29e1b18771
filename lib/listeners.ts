import cluster from 'node:cluster'
import { subscribe } from 'node:diagnostics_channel'
import { EventEmitter, errorMonitor } from 'node:events'
import { closeSync } from 'node:fs'
import { type AddressInfo, isIPv6, type Server } from 'node:net'
import path from 'node:path'
import { connectionsOf } from './connections.js'
import { followSessions } from './drain-http2.js'
import { isHidden } from './hidden-servers.js'
import { adoptListener, listeningHandle, type RawHandle } from './node-internals.js'
import type { ListenerAddress, OpenListener } from './protocol.js'
import { onceStopped } from './stop-accepting.js'
import { isSocketFile, moveIntoPlace, socketFile, temporaryName, type UnixSocketFile } from './unix-socket.js'

/** A server of this process that listens. */
export interface Listener extends ListenerAddress {
  readonly server: Server
}

/** All that this process listens on, whoever called `listen()`. 'stopped' is a server that accepts no more. */
export interface Listeners extends EventEmitter<{ listening: [Listener]; stopped: [Listener]; claimed: [] }> {
  /** The servers that listen, or have connections left of when they did. */
  live(): Listener[]
  /** The same with their descriptors, for a next generation; without those that can't be inherited. */
  open(): OpenListener[]
  /** What a server listens on, or has listened on while it drains. */
  addressOf(server: Server): ListenerAddress | undefined
  /** Their raw handle, to be sent to a master. */
  handle(listener: Listener): RawHandle | undefined
  /** The inherited listeners that nobody has asked for yet. */
  unclaimed(): readonly OpenListener[]
  /** Begins to accept on the inherited listeners, those that are claimed later included. */
  serve(): void
  /** Closes the inherited listeners that nobody asked for, and removes their Unix sockets' files. */
  dropUnclaimed(): void
  /** A next generation has all listeners: from now on a Unix socket's file stays when its server stops. */
  handOver(): void
  /** A next generation boots, or has failed: until then the files of Unix sockets stay. */
  upgrading(value: boolean): void
}

/** What `listen()` was called with, as far as it matters here. */
interface ListenOptions {
  port?: number | string | null
  host?: string
  path?: string
  fd?: number
  handle?: unknown
  _handle?: unknown
}

/** A `listen()` that is under way. */
interface Attempt {
  readonly key: string
  /** Puts the options back to what the caller gave: Fastify copies them for its second server. */
  readonly restore: () => void
  /** `temporary` is what the socket is bound to until it is moved; an inherited one is in place already. */
  readonly unix?: { readonly asked: string; readonly temporary?: string }
  readonly isForeign?: true
}

/**
 * Follows every `listen()` of the process through Node's own channel: no method is replaced, and Fastify's
 * hidden second server for `localhost` is seen too. Nothing is held open by it, and nothing runs per connection.
 * @param inherited listeners that were open when the process started; what asks for one of them takes it
 */
export function watchListeners(inherited: readonly OpenListener[]): Listeners {
  const events = new EventEmitter<{ listening: [Listener]; stopped: [Listener]; claimed: [] }>()
  events.setMaxListeners(0)
  const attempts = new Map<Server, Attempt>()
  const live = new Map<Server, Listener>()
  const addresses = new WeakMap<Server, ListenerAddress>()
  const unclaimed = new Map(inherited.map(listener => [listener.key, listener]))
  const accepting: (() => void)[] = []
  let serving = inherited.length === 0
  let handedOver = false
  let upgrading = false
  /** Files of Unix sockets that stopped during an upgrade. */
  const left = new Set<UnixSocketFile>()

  subscribe('tracing:net.server.listen:asyncStart', onStart)
  subscribe('tracing:net.server.listen:asyncEnd', onBound)

  return Object.assign(events, {
    live: () => [...live.values()],
    open: () => [...live.values()].flatMap(describe),
    addressOf: (server: Server) => addresses.get(server),
    handle: ({ server }: Listener) => listeningHandle(server),
    unclaimed: () => [...unclaimed.values()],
    serve,
    dropUnclaimed,
    handOver() {
      handedOver = true
    },
    upgrading(value: boolean) {
      upgrading = value
      if (value) return
      for (const file of left) letGo(file)
      left.clear()
    }
  })

  function onStart(message: unknown): void {
    const { server, options } = message as { server: Server; options: ListenOptions }
    if (isHidden(server)) return
    if (cluster.isWorker) return // the cluster's primary has the socket
    const key = keyOf(options)
    if (key === undefined) return

    const inheritance = claim(key)
    if (inheritance !== undefined) take(server, options, inheritance)
    else if (options.path !== undefined && key.startsWith('unix:') && isSocketFile(options.path))
      bindUnixSocket(server, options, key)
    else attempts.set(server, { key, restore() {} })
    server.once(errorMonitor as unknown as 'error', giveUp)
  }

  function giveUp(this: Server): void {
    attempts.get(this)?.restore()
    attempts.delete(this)
  }

  function take(server: Server, options: ListenOptions, { key, fd, isForeign }: OpenListener): void {
    const { fd: asked, path: file } = options
    options.fd = fd
    const restore = () => {
      if (asked === undefined) delete options.fd
      else options.fd = asked
    }
    attempts.set(server, {
      key,
      restore,
      ...(isForeign && { isForeign }),
      ...(file === undefined ? {} : { unix: { asked: file } })
    })
    const accept = serving ? undefined : adoptListener(server, fd)
    if (accept === undefined) return
    accepting.push(() => {
      const error = accept()
      if (error !== 0)
        server.emit('error', new Error(`cannot listen on the inherited ${key}: error ${error}`))
    })
  }

  function bindUnixSocket(server: Server, options: ListenOptions, key: string): void {
    const asked = options.path as string
    const temporary = temporaryName(asked)
    if (temporary === undefined) return // bind() will say why
    options.path = temporary
    const restore = () => {
      options.path = asked
    }
    attempts.set(server, { key, restore, unix: { asked, temporary } })
  }

  function onBound(message: unknown): void {
    const { server } = message as { server: Server }
    if (isHidden(server)) return
    const { key, restore, unix, isForeign } = attempts.get(server) ?? {}
    attempts.delete(server)
    server.removeListener(errorMonitor as unknown as 'error', giveUp)
    restore?.()
    connectionsOf(server)
    followSessions(server)

    // Node.js knows the temporary name, or none; neither the application nor a log may see that.
    if (unix !== undefined) server.address = () => unix.asked
    const bound = boundAddress(server)
    const listener: Listener = {
      key: key ?? `unknown:${bound}`,
      bound,
      ...(isForeign && { isForeign }),
      server
    }
    live.set(server, listener)
    addresses.set(server, { key: listener.key, bound })
    let file: UnixSocketFile | undefined
    onceStopped(server, () => {
      if (file !== undefined) letGo(file)
      events.emit('stopped', listener)
    })
    server.once('close', () => {
      live.delete(server)
      if (unix !== undefined) delete (server as Partial<Server>).address
    })

    // Before 'listening' is emitted, but behind this call: it sets the file's mode by the name that was bound.
    process.nextTick(() => {
      try {
        if (unix?.temporary !== undefined) file = moveIntoPlace(unix.temporary, unix.asked)
        else if (unix !== undefined && !isForeign && isSocketFile(unix.asked)) file = socketFile(unix.asked)
      } catch (error) {
        server.emit('error', error as Error)
        server.close()
        return
      }
      if (live.has(server)) events.emit('listening', listener)
    })
  }

  /** A next generation that boots may have inherited the socket, which must not lose its name then. */
  function letGo(file: UnixSocketFile): void {
    if (upgrading) return void left.add(file)
    if (handedOver) return
    try {
      file.remove()
    } catch {} // whoever comes next replaces it; the requests in hand matter more
  }

  /** The name of what is asked for; undefined for a handle, which nobody can ask for again. */
  function keyOf(options: ListenOptions): string | undefined {
    const { fd, port, host = '', path: file, handle, _handle } = options
    if (handle != null || _handle != null) return undefined
    if (typeof fd === 'number') return `fd:${fd}`
    // Like Node.js: a port that is there, be it undefined, comes before a path.
    if (!('port' in options) && file !== undefined)
      return `unix:${isSocketFile(file) ? path.resolve(file) : file}`
    if (!('port' in options) && Object.keys(options).length > 0) return undefined
    const name = `tcp:${host.toLowerCase()}:${Number(port ?? 0)}`
    const isFree = Number(port ?? 0) === 0
    const taken = new Set([...live.values(), ...attempts.values()].map(({ key }) => key))
    if (!isFree && !taken.has(name)) return name
    let index = isFree ? 1 : 2 // several on one port: reusePort
    while (taken.has(`${name}#${index}`)) index++
    return `${name}#${index}`
  }

  /** The inherited listener of this name, or else one that is bound to where the name leads. */
  function claim(key: string): OpenListener | undefined {
    const listener = unclaimed.get(key) ?? [...unclaimed.values()].find(({ bound }) => leadsTo(key, bound))
    if (listener === undefined) return undefined
    unclaimed.delete(listener.key)
    process.nextTick(() => events.emit('claimed'))
    return { ...listener, key }
  }

  function serve(): void {
    serving = true
    for (const accept of accepting.splice(0)) accept()
  }

  function dropUnclaimed(): void {
    for (const { key, fd, bound, isForeign } of unclaimed.values()) {
      if (key.startsWith('unix:') && !isForeign && isSocketFile(bound)) socketFile(bound).remove()
      closeSync(fd)
    }
    unclaimed.clear()
  }
}

function describe({ server, ...address }: Listener): OpenListener[] {
  const handle = listeningHandle(server)
  return handle === undefined || address.key.startsWith('unknown:') ? [] : [{ ...address, fd: handle.fd }]
}

function boundAddress(server: Server): string {
  const address = server.address() as AddressInfo | string | null
  if (address === null || typeof address === 'string') return address ?? 'nowhere'
  return `${isIPv6(address.address) ? `[${address.address}]` : address.address}:${address.port}`
}

/** Whether a name that was asked for would be bound to the very address that a listener has. */
function leadsTo(key: string, bound: string): boolean {
  if (key === `unix:${bound}`) return true
  const [, host, port] = /^tcp:(.*):([1-9]\d*)(?:#\d+)?$/.exec(key) ?? []
  if (host === undefined) return false
  const hosts =
    host === '' ? ['[::]', '0.0.0.0'] : host === 'localhost' ? ['127.0.0.1', '[::1]'] : [bracketed(host)]
  return hosts.some(candidate => `${candidate}:${port}` === bound)
}

function bracketed(host: string): string {
  return isIPv6(host) ? `[${host}]` : host
}
