/**
 * `socket._write()` and `_writev()`, which are what Node.js documents for those who make streams: whatever is written to a
 * connection passes them, also what `end()` is given.
 */
import type { Socket } from 'node:net'

type Callback = (error?: Error | null) => void

interface Writes {
  _write(chunk: Buffer | string, encoding: BufferEncoding | 'buffer', callback: Callback): void
  _writev?(
    chunks: readonly { readonly chunk: Buffer | string; readonly encoding: BufferEncoding }[],
    callback: Callback
  ): void
}

/**
 * From now on everything that is written to a connection goes to `replace`, and what that returns to the client.
 * @returns takes it back
 */
export function replaceWrites(socket: Socket, replace: (bytes: Buffer) => Buffer): () => void {
  const own = socket as unknown as Writes
  const { _write } = own
  own._write = (chunk, encoding, callback) => write(bytesOf(chunk, encoding), callback)
  own._writev = (chunks, callback) =>
    write(Buffer.concat(chunks.map(({ chunk, encoding }) => bytesOf(chunk, encoding))), callback)
  return () => {
    delete (own as Partial<Writes>)._write
    delete own._writev
  }

  function write(bytes: Buffer, callback: Callback): void {
    const rest = replace(bytes)
    if (rest.length === 0) callback()
    else _write.call(own, rest, 'buffer', callback)
  }
}

function bytesOf(chunk: Buffer | string, encoding: BufferEncoding | 'buffer'): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, encoding as BufferEncoding) : chunk
}
