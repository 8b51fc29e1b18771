import type { Server, Socket } from 'node:net'
import { connectionOf } from '../connections/connection.js'
import type { KeptPart } from '../handover/offer.js'
import { onNextRequest } from '../internals/http1.js'
import type { RawHandle } from '../internals/raw-handle.js'
import { wrapAccepted } from '../internals/socket.js'
import { webSocketOf } from '../internals/ws.js'
import { giveDictionary } from '../internals/ws-dictionary.js'
import { insidesOf } from '../internals/ws-insides.js'
import type { Log } from '../log.js'
import { dictionaryOf, setDictionary, setRestored } from './restored.js'
import { swallowHead } from './swallow.js'

/**
 * A server meets the request of a kept connection's client again, as if that had just come, with the state that goes with it.
 * The client has had the answer to it: it doesn't get it again.
 * @param onSaid the server has answered, or the connection has ended before
 * @returns undefined where a handle can't become a connection: it is closed then
 */
export function replay(
  server: Server,
  handle: RawHandle,
  { bytes, told, state, dictionary = '' }: KeptPart,
  log: Pick<Log, 'warn'>,
  onSaid: () => void = () => {}
): Socket | undefined {
  const socket = wrapAccepted(server, handle)
  if (socket === undefined) {
    handle.close()
    onSaid()
    return undefined
  }
  connectionOf(socket).wasServed = true
  setDictionary(socket, Buffer.from(dictionary, 'base64'))
  socket.once('close', onSaid)
  swallowHead(socket, told, ({ status }, isSame) => {
    socket.off('close', onSaid)
    if (!isSame) log.warn({ told, status }, 'a kept connection is answered otherwise now, and ends')
    else if (told.kind === 'webSocket') process.nextTick(giveContext, socket) // it is one then, and has read nothing
    setImmediate(onSaid) // when the handler has run
  })
  socket.unshift(Buffer.from(bytes, 'base64'))
  server.emit('connection', socket)
  onNextRequest(socket, request => setRestored(request, state))
  return socket
}

function giveContext(socket: Socket): void {
  const webSocket = webSocketOf(socket)
  const deflate = webSocket && insidesOf(webSocket)?.deflate
  if (deflate !== undefined) giveDictionary(deflate, dictionaryOf(socket))
}
