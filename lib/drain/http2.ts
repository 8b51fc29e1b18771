import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Server } from 'node:net'
import { sessionsOf } from '../connections/http2-sessions.js'
import { openStreams, writeAtOnce } from '../internals/http2.js'
import { afterReading } from '../time/event-loop.js'

/** The HTTP/2 sessions that a drain has told to go. */
export interface EndingSessions {
  /** The deadline: streams that are open are reset, and the connections end. Returns how many sessions were left. */
  cut(): number
  /** The drain is over: a session that comes now is nobody's. */
  stop(): void
}

export interface EndOptions {
  /** Over this time the sessions are told one after the other, evenly, in milliseconds. 0: all at once. */
  readonly spreadTime?: number
  onTold?(): void
}

/** From the first word to the last, in milliseconds: at least one round trip (RFC 9113 6.8). */
const noticeTime = 1_000

/** Pause between two attempts to write while a response fills the connection, in milliseconds. */
const retryTime = 20

/** A GOAWAY frame: NO_ERROR, and the highest stream identifier, so that it refuses nothing (RFC 9113 6.8). */
const notice = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])

/**
 * Ends the sessions of these servers, also those that come from now on. The first word is said in the moment in which
 * it is the least likely to cross a request: when one has come and isn't answered, as a client with one request at a
 * time sends no other then; or after a second without any.
 *
 * A cleartext session gets GOAWAY twice, as RFC 9113 6.8 asks for: streams that arrive in between are served. Over TLS
 * Node.js can't send the first of them: behind `session.goaway(0, 2 ** 31 - 1)` it ignores each new stream, which the
 * client then must believe to be served (it calls nghttp2_submit_goaway, and nowhere nghttp2_submit_shutdown_notice).
 * So there is one, in front of an answer, if there is one that no other stream is open with: the client then has done
 * with the session at once. While a session goes away Chromium fails each request that it has assigned to it and not
 * sent yet (net::ERR_FAILED); of one that is over it sends them anew. A request that crosses it is one that the client
 * may send again.
 */
export function endSessions(
  servers: readonly Server[],
  { spreadTime = 0, onTold }: EndOptions = {}
): EndingSessions {
  /** What stops the timer of each. */
  const timers = new Map<ServerHttp2Session, () => void>()
  const followed = servers.filter(server => sessionsOf(server) !== undefined)
  const present = followed.flatMap(server => [...(sessionsOf(server) ?? [])])
  for (const server of followed) server.on('session', onSession)
  for (const [index, [session, isReady]] of present.entries()) {
    const delay = (spreadTime * index) / present.length
    if (!isReady) onSession(session)
    else if (delay === 0) tell(session)
    else wait(session, delay, () => tell(session))
  }

  return {
    cut() {
      const left = followed.flatMap(server => [...(sessionsOf(server)?.keys() ?? [])])
      for (const session of left) cut(session)
      return left.length
    },
    stop() {
      for (const server of followed) server.off('session', onSession)
    }
  }

  /** Told with the client's settings; where none come, it isn't waited for. */
  function onSession(session: ServerHttp2Session): void {
    session.once('remoteSettings', () => tell(session))
    wait(session, noticeTime, () => end(session))
  }

  function tell(session: ServerHttp2Session): void {
    if (session.closed || session.destroyed) return
    let deadline: number | undefined
    if (session.encrypted) {
      beforeLastAnswer(session, () => end(session))
      wait(session, noticeTime, () => end(session))
    } else {
      session.once('stream', giveNotice)
      wait(session, noticeTime, giveNotice)
    }

    function giveNotice(): void {
      deadline ??= performance.now() + noticeTime
      if (session.closed || session.destroyed) return
      if (writeAtOnce(session, notice)) wait(session, noticeTime, () => end(session))
      else if (performance.now() < deadline) wait(session, retryTime, giveNotice)
      else end(session)
    }
  }

  function end(session: ServerHttp2Session): void {
    if (session.closed || session.destroyed) return
    onTold?.()
    session.close()
  }

  /** One timer a session, gone with it. */
  function wait(session: ServerHttp2Session, ms: number, then: () => void): void {
    if (timers.has(session)) timers.get(session)?.()
    else
      session.once('close', () => {
        timers.get(session)?.()
        timers.delete(session)
      })
    timers.set(session, afterReading(ms, then))
  }
}

/**
 * In front of the first answer that is begun while no other stream is open. Where the streams can't be seen, behind the
 * next request.
 */
function beforeLastAnswer(session: ServerHttp2Session, then: () => void): void {
  const streams = openStreams(session)
  if (streams === undefined) return void session.once('stream', then)
  for (const stream of streams.values()) if (!stream.headersSent) follow(stream)
  session.on('stream', stream => (stream.headersSent ? begins() : follow(stream)))

  function follow(stream: ServerHttp2Stream): void {
    const { respond } = stream
    stream.respond = (...args) => {
      begins()
      respond.apply(stream, args)
    }
  }

  function begins(): void {
    if (streams?.size === 1) then()
  }
}

/** With `destroy()` alone a stream would be reset with NO_ERROR, and a part of a response look like all of it. */
function cut(session: ServerHttp2Session): void {
  if (!session.closed) session.close()
  session.destroy(null as never, constants.NGHTTP2_CANCEL)
}
