/**
 * What a client's compressed messages refer to, if it keeps its context between them: the last 32 KiB that it has sent.
 * `ws` keeps that in its inflater, from which nobody gets it.
 */
import type { Deflate } from './ws-insides.js'

/** The end of all that has been inflated. */
export interface Dictionary {
  read(): Buffer
}

/** What is known of one inflater. */
interface Context {
  /** What its first message may refer to, and it has not got yet. */
  owed: Buffer | undefined
  tail: (Dictionary & { add(data: Buffer): void }) | undefined
}

const known = new WeakMap<Deflate, Context>()

/** Whether a client's messages refer to those before them. */
export function hasContext({ params }: Deflate): boolean {
  return params.client_no_context_takeover === undefined
}

/** The first message that comes from now on may refer to this; there has been none yet. It is held until then. */
export function giveDictionary(deflate: Deflate, dictionary: Buffer): void {
  if (dictionary.length > 0 && deflate._inflate === null) contextOf(deflate).owed = dictionary
}

/**
 * Follows what is inflated from now on.
 * @param before what an older generation has seen; it is this one's own from now on, and changes with the first message
 * @returns undefined where it is too late for that
 */
export function followDictionary(deflate: Deflate, before: Buffer): Dictionary | undefined {
  const { tail } = known.get(deflate) ?? {}
  if (tail !== undefined || deflate._inflate !== null) return tail
  const size = 1 << Math.max(Number(deflate.params.client_max_window_bits ?? 15), 9)
  const context = contextOf(deflate)
  context.tail = createTail(size, before)
  return context.tail
}

function contextOf(deflate: Deflate): Context {
  let context = known.get(deflate)
  if (context === undefined) {
    context = { owed: undefined, tail: undefined }
    known.set(deflate, context)
    wrap(deflate, context)
  }
  return context
}

/**
 * What is owed is inflated in front of the first message, as a block that is stored. As zlib's option `dictionary` it would
 * stay in memory, beside the window that it becomes.
 */
function wrap(deflate: Deflate, context: Context): void {
  const { decompress } = deflate
  deflate.decompress = function (data, fin, callback) {
    const inflate = () =>
      decompress.call(this, data, fin, (error, result) => {
        if (!error) context.tail?.add(result)
        callback(error, result)
      })
    const { owed } = context
    if (owed === undefined) return inflate()
    context.owed = undefined
    const { _maxPayload } = deflate
    deflate._maxPayload = 0
    decompress.call(this, stored(owed), false, (error, result) => {
      deflate._maxPayload = _maxPayload
      if (error) callback(error, result)
      else inflate()
    })
  }
}

/** A block of RFC 1951, 3.2.4, that is not the last one. @param data shorter than 64 KiB */
function stored(data: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt16LE(data.length, 1)
  head.writeUInt16LE(data.length ^ 0xffff, 3)
  return Buffer.concat([head, data])
}

/**
 * A ring that grows as it fills.
 * @param size in bytes
 * @param before what is in it at first: its memory is the ring's from then on
 */
function createTail(size: number, before: Buffer): Dictionary & { add(data: Buffer): void } {
  let ring = before.subarray(-size)
  /** So many bytes are in it. */
  let length = ring.length
  /** Where the next one goes. */
  let end = 0
  return {
    add(data) {
      const part = data.subarray(-size)
      if (part.length === 0) return
      grow(length + part.length)
      const first = part.copy(ring, end)
      part.copy(ring, 0, first)
      end = (end + part.length) % ring.length
      length = Math.min(length + part.length, ring.length)
    },
    read: () =>
      length < ring.length
        ? ring.subarray(0, length)
        : Buffer.concat([ring.subarray(end), ring.subarray(0, end)])
  }

  function grow(needed: number): void {
    if (needed <= ring.length || ring.length === size) return
    const larger = Buffer.alloc(Math.min(Math.max(needed, 2 * ring.length), size))
    if (length < ring.length) ring.copy(larger, 0, 0, length)
    else ring.copy(larger, ring.copy(larger, 0, end), 0, end)
    ring = larger
    end = length
  }
}
