import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Told } from '../handover/offer.js'
import { currentResponse, newestRequest, sentHead } from '../internals/http1.js'
import { framingOf, isEncoded, readHead, typeOf } from './head.js'
import type { Subject } from './kept.js'
import { stillToSay } from './swallow.js'

/** A response that is written bit by bit, to a request without a body. */
export function streamSubject(response: ServerResponse, request: IncomingMessage, socket: Socket): Subject {
  return {
    isOpen: () => !response.writableEnded && !response.destroyed,
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
    unread: () => Buffer.alloc(0)
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
