import type { Master } from './master.js'
import type { Notifier } from './systemd-notify.js'

/**
 * Tells systemd what a master does. With `Type=notify-reload` that is how `systemctl reload` learns how it went: it
 * waits for RELOADING=1 behind its SIGHUP, and then for READY=1, whatever has become of the upgrade.
 */
export function tellServiceManager(master: Master, notifier: Notifier): void {
  const { events } = master
  if (master.state === 'serving') notifier.ready(serving())
  else notifier.status('generation 1 is booting')
  events.on('booting', ({ number }) => {
    if (master.state !== 'starting') notifier.reloading()
    notifier.status(`generation ${number} is booting`)
  })
  events.on('ready', ({ generation, pid }) => notifier.ready(`generation ${generation} serves (pid ${pid})`))
  events.on('failed', ({ number }, { message }) => notOver(`${number} failed: ${message}`))
  events.on('refused', ({ message }) => {
    if (master.state === 'closing') return
    notifier.reloading()
    if (master.state === 'serving') notOver(message) // else what is under way ends it
  })
  events.on('closing', () => notifier.stopping())

  function notOver(what: string): void {
    if (current() === undefined) notifier.status(what)
    else notifier.ready(`${serving('serves on')}, ${what}`)
  }

  function serving(does = 'serves'): string {
    const { number, pid } = current() ?? {}
    return `generation ${number} ${does} (pid ${pid})`
  }

  function current() {
    return master.generations().find(({ state }) => state === 'serving')?.generation
  }
}
