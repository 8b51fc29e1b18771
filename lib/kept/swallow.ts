import type { Socket } from 'node:net'
import { closeLingering } from '../connections/ending.js'
import type { Told } from '../handover/offer.js'
import { replaceWrites } from '../internals/written.js'
import { endsAtOnce, type Head, matches, readHead } from './head.js'

/** What a client was told, and this process has not said again yet. */
const unsaid = new WeakMap<Socket, Told>()

/** What a connection's client was told by an older generation; undefined once this one has come so far, too. */
export function stillToSay(socket: Socket): Told | undefined {
  return unsaid.get(socket)
}

/** The longest head of a response, in bytes: what is longer is none. */
const longestHead = 1_048_576

/** For so long whoever has lost a connection can't end it, in milliseconds. */
const farewellTime = 900

const headEnd = '\r\n\r\n'

/**
 * The client has had the head of the response: it goes nowhere. If it is another one the client is told to come again.
 * @param onSaid what it was, and whether the client can go on
 */
export function swallowHead(socket: Socket, told: Told, onSaid: (head: Head, isSame: boolean) => void): void {
  let pending = Buffer.alloc(0)
  let isLost = false
  unsaid.set(socket, told)
  const takeBack = replaceWrites(socket, replace)

  function replace(bytes: Buffer): Buffer {
    if (isLost) return Buffer.alloc(0)
    pending = Buffer.concat([pending, bytes])
    const end = pending.indexOf(headEnd)
    if (end === -1 && pending.length < longestHead) return Buffer.alloc(0)
    const head = readHead(pending.toString('latin1', 0, Math.max(end, 0)))
    const rest = pending.subarray(end + headEnd.length)
    pending = Buffer.alloc(0)
    if (head.status < 200 && head.status !== 101) return replace(rest) // 103 and its kind
    unsaid.delete(socket)
    const isSame = matches(head, told)
    onSaid(head, isSame)
    return isSame ? goOn(head, rest) : lose()
  }

  function goOn(head: Head, rest: Buffer): Buffer {
    takeBack()
    return endsAtOnce(head, told) ? lastChunk : rest
  }

  function lose(): Buffer {
    isLost = true
    endInPeace(socket)
    return farewellOf(told)
  }
}

/** A close frame with 1012. */
const serviceRestart = Buffer.from([0x88, 2, 0x03, 0xf4])

const lastChunk = Buffer.from('0\r\n\r\n')

/** Behind it the connection ends. A body of which a part is missing must not look whole; an event stream always is. */
function farewellOf(told: Told): Buffer {
  if (told.kind === 'webSocket') return serviceRestart
  const isWhole =
    told.kind === 'stream' && told.framing === 'chunked' && told.type.startsWith('text/event-stream')
  return isWhole ? lastChunk : Buffer.alloc(0)
}

/**
 * Ends a connection behind what was written, and lets it linger. Whoever wrote the other head would end it at once, and what the
 * client sends meanwhile would reset it, before it has read why.
 */
function endInPeace(socket: Socket): void {
  socket.destroy = () => socket
  const release = () => void delete (socket as Partial<Socket>).destroy
  const timer = setTimeout(release, farewellTime)
  socket.once('end', release)
  socket.once('close', () => clearTimeout(timer))
  setImmediate(() => closeLingering(socket))
}
