import { spawn } from 'node:child_process'
import type { Socket } from 'node:net'
import type { Send } from './outbox.js'

/** In milliseconds; the tool itself waits 5 s for systemd to have read a message. */
const timeout = 10_000

/**
 * Node.js has no Unix datagram sockets, so each message is sent by the tool `systemd-notify`. That is another
 * process than the main one, so the unit needs NotifyAccess=all. It ends when systemd has read the message.
 *
 * The tool keeps no process alive: what isn't under way when this one ends is not sent.
 */
export function sendByTool(env: NodeJS.ProcessEnv): Send {
  return function send(assignments, done) {
    let isDone = false
    const settle = (error?: Error) => {
      if (!isDone) done(error)
      isDone = true
    }
    try {
      const signal = AbortSignal.timeout(timeout)
      const child = spawn('systemd-notify', assignments, {
        env,
        signal,
        killSignal: 'SIGKILL',
        stdio: ['ignore', 'ignore', 'pipe']
      })
      child.unref()
      const stderr = child.stderr as Socket
      stderr.unref()
      let words = ''
      stderr.setEncoding('utf8').on('data', chunk => {
        words = (words + chunk).slice(0, 1_000)
      })
      child.once('error', settle)
      child.once('close', (code, killer) => {
        settle(
          code === 0 ? undefined : new Error(`systemd-notify ended with ${killer ?? code}: ${words.trim()}`)
        )
      })
    } catch (error) {
      process.nextTick(done, error)
    }
  }
}
