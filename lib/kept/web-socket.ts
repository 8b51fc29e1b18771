import { followDictionary, hasContext } from '../internals/ws-dictionary.js'
import { extensionsOf, type Insides, isAtRest, isOpen, unreadOf } from '../internals/ws-insides.js'
import type { Subject } from './kept.js'

/**
 * A WebSocket of `ws`.
 * @param before what its client has sent to an older generation, and may refer to
 * @returns undefined if it is too late: what its client may refer to has come, and is gone
 */
export function webSocketSubject(insides: Insides, protocol: string, before: Buffer): Subject | undefined {
  const { deflate } = insides
  const keepsContext = deflate !== undefined && hasContext(deflate)
  const dictionary = keepsContext ? followDictionary(deflate, before) : undefined
  if (keepsContext && dictionary === undefined) return undefined
  const extensions = extensionsOf(insides)
  return {
    isOpen: () => isOpen(insides),
    isAtRest: () => isAtRest(insides),
    told: () => ({ kind: 'webSocket', protocol, extensions }),
    // Those that were accepted, so that a version that would rather have others accepts them, too.
    headers: { 'sec-websocket-extensions': extensions || undefined },
    unread: () => unreadOf(insides),
    dictionary: () => dictionary?.read()
  }
}
