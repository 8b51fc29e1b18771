/**
 * The receiver, the sender and the extensions of a WebSocket of the package `ws`: what it has read and not delivered, and
 * whether it is in the middle of something. Where anything of it is missing, as in ws before 8.18, the connection
 * can't be kept: it is told 1012, and the log says so once.
 */
import type { WebSocket } from './ws.js'

/** What is used of ws/lib/receiver.js, sender.js and permessage-deflate.js. */
export interface Insides {
  readonly webSocket: WebSocket & { readonly _closeFrameReceived: boolean; readonly _closeFrameSent: boolean }
  readonly receiver: Receiver
  readonly sender: Sender
  /** Where it was agreed on to compress. */
  readonly deflate: Deflate | undefined
}

interface Receiver {
  readonly _state: number
  /** It is inside of `startLoop()`, and so of an event; for good where a listener has thrown. */
  readonly _loop: boolean
  readonly _errored: boolean
  readonly _compressed: boolean
  /** The opcode of the fragmented message that is under way; or 0. */
  readonly _fragmented: number
  readonly _fin: boolean
  readonly _opcode: number
  readonly _mask: Buffer | undefined
  readonly _payloadLength: number
  readonly _totalPayloadLength: number
  readonly _bufferedBytes: number
  readonly _buffers: readonly Buffer[]
  /** Those of the message under way that are whole. */
  readonly _fragments: readonly Buffer[]
  readonly writableLength: number
  readonly writableNeedDrain: boolean
}

interface Sender {
  readonly _state: number
  readonly _queue: readonly unknown[]
  /** Not so while the application sends a message in fragments. */
  readonly _firstFragment: boolean
}

export interface Deflate {
  params: Readonly<Record<string, string | number | true>>
  _inflate: object | null
  /** In bytes; 0 without a limit. */
  _maxPayload: number
  decompress(data: Buffer, fin: boolean, callback: (error: Error | null, result: Buffer) => void): void
}

/** States of a receiver; those behind the last one are in the middle of delivering. */
const getInfo = 0
const getMask = 3
const getData = 4

/** Beyond so many bytes of one message, it is waited for. */
const longestUnread = 1_048_576

const extensionName = 'permessage-deflate'

/** @returns undefined where this version of ws looks different, or the WebSocket is no server's */
export function insidesOf(webSocket: WebSocket): Insides | undefined {
  const {
    _receiver: receiver,
    _sender: sender,
    _extensions
  } = webSocket as unknown as Partial<Record<string, object>>
  const deflate = (_extensions as Record<string, object | undefined> | undefined)?.[extensionName]
  const isKnown =
    hasAll(webSocket, { _closeFrameReceived: 'boolean', _closeFrameSent: 'boolean', _isServer: 'boolean' }) &&
    hasAll(receiver, receiverShape) &&
    hasAll(sender, { _state: 'number', _queue: 'object', _firstFragment: 'boolean' }) &&
    (deflate === undefined || hasAll(deflate, deflateShape))
  return isKnown ? ({ webSocket, receiver, sender, deflate } as unknown as Insides) : undefined
}

const receiverShape = {
  _state: 'number',
  _loop: 'boolean',
  _errored: 'boolean',
  _compressed: 'boolean',
  _fragmented: 'number',
  _fin: 'boolean',
  _opcode: 'number',
  _payloadLength: 'number',
  _totalPayloadLength: 'number',
  _bufferedBytes: 'number',
  _buffers: 'object',
  _fragments: 'object'
}

const deflateShape = { params: 'object', _inflate: 'object', _maxPayload: 'number', decompress: 'function' }

function hasAll(object: object | null | undefined, shape: Readonly<Record<string, string>>): boolean {
  const fields = (object ?? {}) as Record<string, unknown>
  return Object.entries(shape).every(([name, type]) => nameOfType(fields[name]) === type)
}

function nameOfType(value: unknown): string {
  return typeof value
}

/** Whether no close frame has come or gone, and no listener has thrown. Not to be asked inside of an event. */
export function isOpen({ webSocket, receiver }: Insides): boolean {
  return (
    webSocket.readyState === 1 &&
    !webSocket._closeFrameReceived &&
    !webSocket._closeFrameSent &&
    !receiver._errored &&
    !receiver._loop
  )
}

/** Whether nothing is being sent or delivered. Between two frames it need not be. */
export function isAtRest({ receiver, sender }: Insides): boolean {
  const isReceiving = receiver._state > getData || receiver.writableLength > 0
  const isSending = sender._state !== 0 || sender._queue.length > 0 || !sender._firstFragment
  if (isReceiving || receiver.writableNeedDrain || isSending) return false
  if (receiver._compressed && hasBegun(receiver)) return false // the inflater has eaten a part of it
  const inFragments = receiver._fragments.reduce((sum, { length }) => sum + length, 0)
  return receiver._bufferedBytes + inFragments <= longestUnread
}

/** What a WebSocket has read and not delivered, as the bytes in which a client would have sent it. */
export function unreadOf({ receiver }: Insides): Buffer {
  const parts: Buffer[] = []
  const begun = hasBegun(receiver)
  if (begun) {
    const data = Buffer.concat(receiver._fragments)
    parts.push(frameHead(receiver._fragmented, data.length), Buffer.alloc(4), data) // a mask of zeros
  }
  if (receiver._state !== getInfo) parts.push(...partialHead(receiver, begun))
  return Buffer.concat([...parts, ...receiver._buffers])
}

/** Of the frame that is under way, as far as it has been read. */
function partialHead(receiver: Receiver, begun: boolean): readonly Buffer[] {
  const { _state, _opcode, _fin, _compressed, _payloadLength, _mask } = receiver
  const isControl = _opcode > 7
  const compressed = _compressed && !isControl && !begun ? 0x40 : 0
  const opcode = begun && !isControl ? 0 : _opcode
  const first = (_fin ? 0x80 : 0) | compressed | opcode
  if (_state < getMask) return [Buffer.from([first, 0x80 | _payloadLength])] // 126 or 127: the length is to come
  const head = frameHead(first, _payloadLength)
  return _state === getData && _mask !== undefined ? [head, _mask] : [head]
}

/** Whether a part of the message under way is in the receiver's hands, or the inflater's. */
function hasBegun({ _state, _opcode, _fragmented, _totalPayloadLength, _payloadLength }: Receiver): boolean {
  if (_fragmented === 0) return false
  if (_state === getInfo || _opcode > 7) return true
  return _totalPayloadLength > (_state >= getMask ? _payloadLength : 0)
}

/** Up to the mask. */
function frameHead(first: number, length: number): Buffer {
  if (length < 126) return Buffer.from([first, 0x80 | length])
  const head = Buffer.alloc(10)
  head[0] = first
  head[1] = 0x80 | 127
  head.writeBigUInt64BE(BigInt(length), 2)
  return head
}

/** What server and client have agreed on, as a header says it; empty without any. */
export function extensionsOf({ deflate }: Insides): string {
  if (deflate === undefined) return ''
  const params = Object.entries(deflate.params)
  return [extensionName, ...params.map(([name, value]) => (value === true ? name : `${name}=${value}`))].join(
    '; '
  )
}
