import type { Master } from './master.js'
import type { Notifier } from './systemd-notify.js'

/** Tells systemd what a master does: with `Type=notify-reload` that is how `systemctl reload` learns how it went. */
export function tellServiceManager({ events, generations, state }: Master, notifier: Notifier): void {
  if (state === 'serving') tellServing()
  else notifier.status('generation 1 is booting')
  events.on('booting', ({ number }) => {
    if (serving() !== undefined) notifier.reloading()
    notifier.status(`generation ${number} is booting`)
  })
  events.on('ready', ({ generation, pid }) => notifier.ready(`generation ${generation} serves (pid ${pid})`))
  events.on('failed', ({ number }, error) => {
    const old = serving()
    if (old === undefined) notifier.status(`generation ${number} failed: ${error.message}`)
    else
      notifier.ready(
        `generation ${old.number} serves on (pid ${old.pid}), ${number} failed: ${error.message}`
      )
  })
  events.on('closing', () => notifier.stopping())

  function tellServing(): void {
    const { number, pid } = serving() ?? {}
    notifier.ready(`generation ${number} serves (pid ${pid})`)
  }

  function serving() {
    return generations().find(tenure => tenure.state === 'serving')?.generation
  }
}
