import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** By the request that was replayed, and no other: no client can make one. */
const states = new WeakMap<IncomingMessage, { readonly json: string; parsed?: unknown }>()

const dictionaries = new WeakMap<Socket, Buffer>()

export function setRestored(request: IncomingMessage, json: string): void {
  states.set(request, { json })
}

/** What the application has saved when it gave a connection away; undefined of a request that a client has sent here. */
export function restoredState(request: IncomingMessage): unknown {
  const state = states.get(request)
  if (state === undefined) return undefined
  if (!('parsed' in state)) state.parsed = JSON.parse(state.json)
  return state.parsed
}

/** What a WebSocket's client may refer to, of what it has sent to an older generation. */
export function setDictionary(socket: Socket, dictionary: Buffer): void {
  dictionaries.set(socket, dictionary)
}

export function dictionaryOf(socket: Socket): Buffer {
  return dictionaries.get(socket) ?? Buffer.alloc(0)
}
