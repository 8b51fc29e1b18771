import type { Log } from '../log.js'
import { isGraceListener, isSecondGraceListener } from './close-with-grace.js'
import { type Host, thisHost } from './host.js'
import { isOurs, shownBy } from './signal-listeners.js'
import type { Terminal } from './terminal.js'

/**
 * Upgrades on `signal`. Other listeners on it are taken off, with a warning: the common one is
 * close-with-grace's, in every template of fastify-cli, and would shut the server down.
 * @param signal `false` for none; Windows sends SIGHUP when its console is closed, which means nothing else
 * @param replaces a listener of ours that the caller takes off afterwards
 * @param onHangup `terminal` has been closed, which is no wish for an upgrade
 */
export function onReload(
  signal: NodeJS.Signals | false,
  log: Log,
  handlers: { reload(): void; onHangup(): void; readonly terminal: Terminal },
  replaces?: () => void,
  host: Host = thisHost
): () => void {
  if (signal === false || process.platform === 'win32') return () => {}
  const reload: NodeJS.Signals = signal
  const others = host
    .rawListeners(reload)
    .map(shownBy)
    .filter(listener => listener !== replaces && !isOurs(listener))
  host.on(reload, onSignal) // ours first: removing the last listener would lose a signal that waits to be told
  for (const listener of others) takeOff(listener)
  host.on('newListener', onNewListener)
  return function leave() {
    host.off('newListener', onNewListener)
    host.off(reload, onSignal)
    handlers.terminal.leave()
  }

  async function onSignal(): Promise<void> {
    if (reload === 'SIGHUP' && (await handlers.terminal.hasHungUp())) handlers.onHangup()
    else handlers.reload()
  }

  function onNewListener(event: string | symbol, listener: (...args: unknown[]) => void): void {
    if (event === reload && !isOurs(listener)) process.nextTick(takeOff, listener)
  }

  function takeOff(listener: (...args: never[]) => void): void {
    host.off(reload, listener)
    if (isSecondGraceListener(listener)) return // it comes with the first signal that ends the process
    const advice = isGraceListener(listener)
      ? `it is close-with-grace's, so call closeWithGrace({ skip: ['${reload}'] }, …)`
      : `name the signals that yours listens for without ${reload}, as in NestJS's enableShutdownHooks(['SIGTERM', 'SIGINT'])`
    log.warn(
      { signal: reload, listener: listener.name },
      `another listener on ${reload} was taken off, as ${reload} upgrades this server: ${advice}; or set another reloadSignal`
    )
  }
}
