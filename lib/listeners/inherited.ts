import { closeSync } from 'node:fs'
import type { Server } from 'node:net'
import { adoptListener } from '../internals/listening.js'
import type { OpenListener } from './address.js'
import { leadsTo } from './listener-key.js'
import { removeFileOf } from './unix-socket.js'

/** The listeners that were open when this process started. Each is claimed once at most, or dropped. */
export interface Inherited {
  /** Those that nobody has asked for yet. */
  unclaimed(): readonly OpenListener[]
  /** The one of this name, or else one that is bound to where the name leads; nobody gets it a second time. */
  claim(key: string): OpenListener | undefined
  /** Lets a server whose `listen()` is under way have the socket of one: it accepts from `serve()` on. */
  accept(server: Server, listener: OpenListener): void
  /**
   * Begins to accept, also on those that are claimed later.
   * @param which by these servers only, until it is called again. @default all
   */
  serve(which?: (server: Server) => boolean): void
  /** Those of them that are to be waited for. */
  wanted(): readonly OpenListener[]
  /**
   * Closes those that nobody has asked for, and removes the files of their Unix sockets.
   * @param keys only of these the files: others may hold the rest. @default all
   */
  drop(keys?: readonly string[]): void
}

/**
 * @param onClaim called for each that is claimed
 * @param adopt takes a descriptor without accepting on it; where it can't, `listen({ fd })` accepts at once
 */
export function createInherited(
  listeners: readonly OpenListener[],
  onClaim: () => void,
  adopt = adoptListener
): Inherited {
  const unclaimed = new Map(listeners.map(listener => [listener.key, listener]))
  /** What begins to accept on each that was claimed; undefined once we serve, or where there never was one. */
  let waiting: Map<Server, () => void> | undefined = listeners.length === 0 ? undefined : new Map()

  return {
    unclaimed: () => [...unclaimed.values()],
    wanted: () => [...unclaimed.values()].filter(({ isOptional }) => !isOptional),
    claim,
    accept,
    serve,
    drop
  }

  function claim(key: string): OpenListener | undefined {
    const listener = unclaimed.get(key) ?? [...unclaimed.values()].find(({ bound }) => leadsTo(key, bound))
    if (listener === undefined) return undefined
    unclaimed.delete(listener.key)
    onClaim()
    return { ...listener, key }
  }

  function accept(server: Server, { key, fd }: OpenListener): void {
    const begin = waiting && adopt(server, fd)
    if (begin === undefined) return
    waiting?.set(server, () => {
      const error = begin()
      if (error !== 0)
        server.emit('error', new Error(`cannot listen on the inherited ${key}: error ${error}`))
    })
  }

  function serve(which?: (server: Server) => boolean): void {
    const claimed = waiting
    if (which === undefined) waiting = undefined
    for (const [server, begin] of claimed ?? []) {
      if (which?.(server) === false) continue
      claimed?.delete(server)
      begin()
    }
  }

  function drop(keys?: readonly string[]): void {
    for (const listener of unclaimed.values()) {
      if (keys?.includes(listener.key) ?? true) removeFileOf(listener)
      closeSync(listener.fd)
    }
    unclaimed.clear()
  }
}
