import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Told } from '../handover/offer.js'
import { currentResponse, newestRequest, sentHead, writtenHead } from '../internals/http1.js'
import { endUnasked } from './end-unasked.js'
import { framingOf, isEncoded, isEventStream, readHead, typeOf } from './head.js'
import type { Subject } from './kept.js'
import { stillToSay } from './swallow.js'

/**
 * A response that is written bit by bit, to a request without a body.
 * @param onEncoded called once, when it is found to be compressed: so it stays
 */
export function streamSubject(
  response: ServerResponse,
  request: IncomingMessage,
  socket: Socket,
  onEncoded: () => void
): Subject {
  /** Once its head is written, which doesn't change any more. */
  let isCompressed: boolean | undefined
  return {
    isOpen: () => !response.writableEnded && !response.destroyed && !isFoundEncoded(),
    isAtRest(isBetweenMessages) {
      const newest = newestRequest(socket)
      return (
        currentResponse(socket) === response &&
        request.complete &&
        (newest == null || newest === request) &&
        response.writableLength === 0 &&
        toldBy(response, socket) !== undefined &&
        isBetweenMessages()
      )
    },
    told: () => toldBy(response, socket) as Told,
    headers: {},
    unread: () => Buffer.alloc(0),
    end() {
      if (response.writableEnded || response.destroyed || stillToSay(socket) !== undefined) return
      const text = sentHead(response)
      // A body of which a part is missing must not look whole; an event stream always is.
      if (text !== undefined && isEventStream(readHead(text))) endUnasked(response)
    }
  }

  /** Whether a compressor has the end of it, which no other process can go on with. */
  function isFoundEncoded(): boolean {
    const text = isCompressed === undefined ? writtenHead(response) : undefined
    if (text !== undefined) {
      isCompressed = isEncoded(readHead(text))
      if (isCompressed) onEncoded()
    }
    return isCompressed === true
  }
}

/** Whether a request has a body: that has been read, and nobody can send it again. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return Number(headers['content-length'] ?? 0) !== 0 || headers['transfer-encoding'] !== undefined
}

/** What the client was told, be it by an older generation; undefined before that, and of what no other process can go on with. */
function toldBy(response: ServerResponse, socket: Socket): Told | undefined {
  const before = stillToSay(socket)
  if (before !== undefined) return before
  const text = sentHead(response)
  if (text === undefined) return undefined
  const head = readHead(text)
  if (isEncoded(head)) return undefined
  return { kind: 'stream', status: head.status, framing: framingOf(head), type: typeOf(head) }
}
