import cluster from 'node:cluster'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import type { Server } from 'node:net'
import { connectionsOf } from '../connections/connections.js'
import { followSessions } from '../connections/http2-sessions.js'
import { listeningHandle } from '../internals/listening.js'
import type { RawHandle } from '../internals/raw-handle.js'
import type { ListenerAddress, OpenListener } from './address.js'
import { type Attempt, createAttempts } from './attempts.js'
import { createInherited } from './inherited.js'
import { boundAddress, keyOf, type ListenOptions } from './listener-key.js'
import { isHidden } from './own-servers.js'
import { type BoundPath, createSocketFiles, type SocketFiles } from './socket-files.js'
import { onceStopped } from './stop-accepting.js'
import type { UnixSocketFile } from './unix-socket.js'

/** A server of this process that listens. */
export interface Listener extends ListenerAddress {
  readonly server: Server
}

/** 'stopped' is a server that accepts no more. */
interface ListenerEvents {
  listening: [Listener]
  stopped: [Listener]
  claimed: []
}

/** All that this process listens on, whoever called `listen()`. */
export interface Listeners extends EventEmitter<ListenerEvents> {
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
  /** Those of them that are to be waited for. */
  wanted(): readonly OpenListener[]
  /**
   * Begins to accept on the inherited listeners, those that are claimed later included.
   * @param which by these servers only, until it is called again. @default all
   */
  serve(which?: (server: Server) => boolean): void
  /**
   * Closes the inherited listeners that nobody asked for, and removes their Unix sockets' files.
   * @param keys only of these the files. @default all
   */
  dropUnclaimed(keys?: readonly string[]): void
  /** Other processes listen on the same: until that is over the files of Unix sockets stay. */
  share(value: boolean): void
  /** A next generation has all listeners: from now on a Unix socket's file stays when its server stops. */
  handOver(): void
  /** A next generation boots, or has failed: until then the files of Unix sockets stay. */
  upgrading(value: boolean): void
  isUpgrading(): boolean
  /** Hears of no `listen()` any more, until it follows again. */
  leave(): void
  follow(): void
}

/**
 * Follows every `listen()` of the process through Node's own channel: no method is replaced, and Fastify's
 * hidden second server for `localhost` is seen too. Nothing is held open by it, and nothing runs per connection.
 * @param open listeners that were open when the process started; what asks for one of them takes it
 */
export function watchListeners(open: readonly OpenListener[]): Listeners {
  const events = new EventEmitter<ListenerEvents>()
  events.setMaxListeners(0)
  const inherited = createInherited(open, () => process.nextTick(() => events.emit('claimed')))
  const attempts = createAttempts(inherited)
  const files = createSocketFiles()
  const live = new Map<Server, Listener>()
  const addresses = new WeakMap<Server, ListenerAddress>()

  followAll()

  return Object.assign(events, {
    live: () => [...live.values()],
    open: () => [...live.values()].flatMap(describe),
    addressOf: (server: Server) => addresses.get(server),
    handle: ({ server }: Listener) => listeningHandle(server),
    unclaimed: inherited.unclaimed,
    wanted: inherited.wanted,
    serve: inherited.serve,
    dropUnclaimed: inherited.drop,
    share: files.share,
    handOver: () => files.settle('theirs'),
    upgrading: (value: boolean) => files.settle(value ? 'undecided' : 'ours'),
    isUpgrading: files.isUndecided,
    follow: followAll,
    leave() {
      unsubscribe('tracing:net.server.listen:asyncStart', onStart)
      unsubscribe('tracing:net.server.listen:asyncEnd', onBound)
    }
  })

  function followAll(): void {
    subscribe('tracing:net.server.listen:asyncStart', onStart)
    subscribe('tracing:net.server.listen:asyncEnd', onBound)
  }

  function onStart(message: unknown): void {
    const { server, options } = message as { server: Server; options: ListenOptions }
    if (isHidden(server)) return
    if (cluster.isWorker) return // the cluster's primary has the socket
    const taken = new Set([...[...live.values()].map(({ key }) => key), ...attempts.keys()])
    const key = keyOf(options, taken)
    if (key !== undefined) attempts.begin(server, options, key)
  }

  function onBound(message: unknown): void {
    const { server } = message as { server: Server }
    if (isHidden(server)) return
    const attempt = attempts.end(server)
    connectionsOf(server)
    followSessions(server)
    if (attempt?.unix !== undefined) showAsked(server, attempt.unix.asked)
    const listener = listenerOf(server, attempt)
    live.set(server, listener)
    addresses.set(server, { key: listener.key, bound: listener.bound })
    follow(listener, attempt?.unix, files, {
      listening: () => live.has(server) && events.emit('listening', listener),
      stopped: () => events.emit('stopped', listener)
    })
    server.once('close', () => live.delete(server))
  }
}

/** What is told of a server that is bound. */
interface BoundEvents {
  /** It listens, and has its name. */
  listening(): void
  /** It accepts no more, and its file has gone its way. */
  stopped(): void
}

function follow(
  { server, isForeign }: Listener,
  unix: BoundPath | undefined,
  files: SocketFiles,
  tell: BoundEvents
): void {
  let file: UnixSocketFile | undefined
  onceStopped(server, () => {
    if (file !== undefined) files.stopped(file)
    tell.stopped()
  })
  // After listen() has set the mode of the temporary name, before 'listening'.
  process.nextTick(() => {
    try {
      if (unix !== undefined && !isForeign) file = files.bind(unix)
    } catch (error) {
      server.emit('error', error as Error)
      server.close()
      return
    }
    tell.listening()
  })
}

/** Node.js knows the temporary name of a Unix socket, or none; neither the application nor a log may see that. */
function showAsked(server: Server, asked: string): void {
  server.address = () => asked
  server.once('close', () => {
    delete (server as Partial<Server>).address
  })
}

function listenerOf(server: Server, { key, isForeign }: Partial<Attempt> = {}): Listener {
  const bound = boundAddress(server)
  return { key: key ?? `unknown:${bound}`, bound, ...(isForeign && { isForeign }), server }
}

function describe({ server, ...address }: Listener): OpenListener[] {
  const handle = listeningHandle(server)
  return handle === undefined || address.key.startsWith('unknown:') ? [] : [{ ...address, fd: handle.fd }]
}
