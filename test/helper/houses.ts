import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws'
import { connectionOf } from '../../lib/connections/connection.js'
import type { ConnectionOffer, OfferAnswer } from '../../lib/handover/offer.js'
import type { RawHandle } from '../../lib/internals/raw-handle.js'
import { adoptKept } from '../../lib/kept/adopt.js'
import type { Fate } from '../../lib/kept/give.js'
import { createKeeper } from '../../lib/kept/keep.js'
import { createMover, type Mover } from '../../lib/kept/mover.js'
import type { Log } from '../../lib/log.js'
import { type Followed, follow } from './accepted.ts'
import { handlePasser } from './pass-on.ts'
import { playLog } from './play/log.ts'

/** One generation: a server whose handler counts what it is told, and goes on to count where it was restored. */
export interface House extends Followed<http.Server> {
  readonly name: string
  /** Who is there. */
  readonly guests: Set<WebSocket>
  readonly closes: { code: number; moved: boolean }[]
}

export interface Seat {
  heard: number
  said: number
}

export interface HouseOptions extends ServerOptions {
  /** Instead of counting. */
  readonly talk?: (socket: WebSocket, seat: Seat) => void
  /** Another version of `ws`. */
  readonly Server?: typeof WebSocketServer
  /** A Unix socket. */
  readonly path?: string
}

const { log } = playLog()
export const keeper = createKeeper(log)

export async function house(
  t: Test,
  name: string,
  { talk, Server = WebSocketServer, path, ...options }: HouseOptions = {}
): Promise<House> {
  const server = http.createServer()
  const sockets = new Server({ server, ...options })
  const followed = await follow(t, server, path)
  const guests = new Set<WebSocket>()
  const closes: House['closes'] = []
  sockets.on('connection', (webSocket: WebSocket, request: IncomingMessage) => {
    const seat = keeper.restored<Seat>(request) ?? { heard: 0, said: 0 }
    const kept = keeper.keep(webSocket, request, () => seat)
    guests.add(webSocket)
    webSocket.on('close', code => {
      guests.delete(webSocket)
      closes.push({ code, moved: kept.moved })
    })
    webSocket.on('error', () => {})
    if (talk !== undefined) return talk(webSocket, seat)
    webSocket.on('message', data => {
      const text = String(data)
      if (Number.parseInt(text, 10) !== ++seat.heard)
        webSocket.send(`wrong: ${text.slice(0, 9)} for ${seat.heard}`)
      else webSocket.send(`${++seat.said} ${name} ${'y'.repeat(text.length % 997)}`)
    })
  })
  return { name, guests, closes, ...followed }
}

export type Answering = (offer: ConnectionOffer, handle: RawHandle) => Promise<OfferAnswer>

/** Leads to the other house. */
export async function way(t: Test): Promise<(to: Pick<House, 'server'>) => Answering> {
  const passOn = await handlePasser(t)
  let turn: Promise<unknown> = Promise.resolve()
  return to => async (offer, handle) => {
    const passed = turn.then(() => passOn(handle))
    turn = passed
    return adoptKept(listenersOf(to), offer.kept!, await passed, log) ? 'adopted' : 'refused'
  }
}

function listenersOf({ server }: Pick<House, 'server'>) {
  return [{ key: 'tcp::0', bound: 'here', server }]
}

export function moverOf(relay: Answering, fates: Fate[] = [], to: Pick<Log, 'warn'> = log): Mover {
  return createMover({
    relay,
    addressOf: () => ({ key: 'tcp::0', bound: 'here' }),
    log: to,
    isWanted: () => true,
    onLeft: () => fate => fates.push(fate)
  })
}

export async function moveAll(
  from: Pick<House, 'list'>,
  relay: Answering,
  fates: Fate[] = [],
  to: Pick<Log, 'warn'> = log
): Promise<Mover> {
  const mover = moverOf(relay, fates, to)
  for (const socket of from.list.sockets) mover.consider(connectionOf(socket))
  while (mover.isMoving()) await sleep(1)
  return mover
}

export function portOf({ server }: Pick<House, 'server'>): number {
  return (server.address() as AddressInfo).port
}

/** So many questions a client lets stand, and then it waits: on a slow machine none would ever be at rest else. */
const unanswered = 3

/** A client that numbers what it says, in sizes and fragments of all kinds, until it is over. */
export async function talk(t: Test, url: string, over: AbortSignal) {
  const client = new WebSocket(url, { perMessageDeflate: { threshold: 0 } })
  t.teardown(() => client.terminate())
  let asked = 0
  let answered = 0
  let isOver = false
  const houses = new Set<string>()
  const wrong: string[] = []
  client.on('error', ({ message }) => wrong.push(message))
  client.on('message', data => {
    const [number, name] = String(data).split(' ')
    if (Number(number) !== ++answered) wrong.push(`${String(data).slice(0, 30)} for ${answered}`)
    houses.add(name!)
  })
  const closed = once(client, 'close')
  await once(client, 'open')
  while (!isOver && client.readyState === WebSocket.OPEN) {
    isOver = over.aborted
    say(client, `${++asked} ${textOf(Math.random() < 0.03 ? 70_000 : Math.random() * 300)}`)
    if (Math.random() < 0.1) client.ping()
    do await sleep(Math.random() * 16)
    while (asked - answered > unanswered && !over.aborted && client.readyState === WebSocket.OPEN)
  }
  while (answered < asked && client.readyState === WebSocket.OPEN) await sleep(1)
  client.close(1000)
  const [code] = await closed
  return { asked, answered, houses, wrong, code }
}

function textOf(length: number): string {
  let text = ''
  while (text.length < length) text += Math.random().toString(36)
  return text
}

function say(client: WebSocket, text: string): void {
  if (Math.random() < 0.7) return client.send(text)
  const at = Math.floor(Math.random() * text.length)
  client.send(text.slice(0, at), { fin: false })
  client.send(text.slice(at), { fin: true })
}
