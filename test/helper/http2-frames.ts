import { once } from 'node:events'
import type { Socket } from 'node:net'

/** One frame that came, its payload read as far as stories need it. */
export interface Frame {
  readonly type: number
  readonly stream: number
  readonly ended: boolean
  /** Of a GOAWAY. */
  readonly lastStream: number
  readonly code: number
  readonly text: string
  readonly time: number
}

export const types = { data: 0, headers: 1, reset: 3, settings: 4, goaway: 7 }

/** A client that says what no library lets one say: a request after a GOAWAY, as if the two had crossed. */
export class FrameClient {
  readonly frames: Frame[] = []
  /** How the connection ended. */
  ending: 'end' | 'error' | undefined
  #rest: Buffer = Buffer.alloc(0)
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('end', () => this.#over('end'))
    socket.on('error', () => this.#over('error'))
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    this.#send(types.settings, 0, 0)
  }

  /** GET of a path shorter than 127 bytes, by entries of HPACK's static table and one literal. */
  get(stream: number, path: string): void {
    const head = Buffer.from([0x82, 0x86, 0x04, path.length, ...Buffer.from(path), 0x01, 1, 0x78])
    this.#send(types.headers, 0x5, stream, head)
  }

  async frame(matches: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = this.frames.find(matches)
      if (found) return found
      if (this.ending) throw new Error(`${this.ending} after ${JSON.stringify(this.frames)}`)
      await once(this.#socket, 'frame')
    }
  }

  answer(stream: number): Promise<Frame> {
    return this.frame(frame => frame.stream === stream && frame.type === types.data && frame.text !== '')
  }

  async ended(): Promise<'end' | 'error'> {
    while (!this.ending) await once(this.#socket, 'frame')
    return this.ending
  }

  /** Without the last one, which comes with the end of the connection and says the same again. */
  goaways(): number[] {
    const ids = this.frames.filter(({ type }) => type === types.goaway).map(({ lastStream }) => lastStream)
    return ids.filter((id, index) => id !== ids[index - 1])
  }

  #send(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): void {
    const head = Buffer.alloc(9)
    head.writeUIntBE(payload.length, 0, 3)
    head[3] = type
    head[4] = flags
    head.writeUInt32BE(stream, 5)
    this.#socket.write(Buffer.concat([head, payload]))
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3)
      if (this.#rest.length < end) break
      const payload = this.#rest.subarray(9, end)
      const type = this.#rest[3]!
      this.frames.push({
        type,
        stream: this.#rest.readUInt32BE(5),
        ended: (this.#rest[4]! & 1) !== 0,
        lastStream: type === types.goaway ? payload.readUInt32BE(0) : 0,
        code: type === types.goaway ? payload.readUInt32BE(4) : 0,
        text: payload.toString('latin1'),
        time: performance.now()
      })
      this.#rest = this.#rest.subarray(end)
    }
    this.#socket.emit('frame')
  }

  #over(ending: 'end' | 'error'): void {
    this.ending ??= ending
    this.#socket.emit('frame')
    this.#socket.end()
  }
}
