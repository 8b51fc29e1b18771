import { type Generation, mainPid } from '../master/generation.js'
import type { Master } from '../master/master.js'
import type { Notifier } from './notify.js'

/**
 * Tells systemd what a master does. With `Type=notify-reload` that is how `systemctl reload` learns how it went: it
 * waits for RELOADING=1 behind its SIGHUP, and then for READY=1, whatever has become of the upgrade.
 */
export function tellServiceManager(master: Master, notifier: Notifier): void {
  const { events } = master
  const first = master.serving()
  /** Its first generation has yet to pass its check, though it serves. */
  let isUnchecked = first !== undefined
  void first?.ready.then(() => {
    isUnchecked = false
    if (master.state === 'serving' && master.serving() === first) notifier.ready(serving())
  })
  if (first === undefined) notifier.status('generation 1 is booting')
  let booting: Generation | undefined
  /** The last one whose probation was told of. */
  let told = 0
  events.on('booting', next => {
    const { number } = next
    booting = next
    if (master.state !== 'starting') reloading()
    notifier.status(`generation ${number} is booting`)
  })
  events.on('workerReady', (generation, { worker }) => {
    if (generation === master.serving()) return // one took the place of another
    notifier.status(`generation ${generation.number} is booting, its worker ${worker} is ready`)
  })
  events.on('probation', ({ number }, { left }) => {
    if (number === told) return
    told = number
    notifier.status(`${serving()}, generation ${number} is on probation for ${Math.round(left / 1_000)} s`)
  })
  events.on('unchecked', (generation, worker, { request, outcome }) => {
    if (generation === master.serving()) return
    const who = worker === undefined ? '' : ` in worker ${worker}`
    notifier.status(`generation ${generation.number} is booting, ${request} ${outcome}${who}`)
  })
  events.on('ready', ({ generation, pid }) => {
    isUnchecked = false
    notifier.ready(`generation ${generation} serves (${booting ? placesOf(booting) : `pid ${pid}`})`)
  })
  events.on('failed', ({ number }, { message }) => reportFailure(`${number} failed: ${message}`))
  events.on('refused', ({ message }) => {
    if (master.state === 'closing') return
    reloading()
    if (master.state === 'serving') reportFailure(message) // else what is under way ends it
  })
  events.on('closing', endTimeout => notifier.stopping(endTimeout))

  /** No reload before the service is ready. */
  function reloading(): void {
    if (!isUnchecked) notifier.reloading()
  }

  function reportFailure(what: string): void {
    if (master.serving() === undefined || isUnchecked) notifier.status(what)
    else notifier.ready(`${serving('serves on')}, ${what}`)
  }

  function serving(does = 'serves'): string {
    const current = master.serving()
    return `generation ${current?.number} ${does} (${current && placesOf(current)})`
  }
}

function placesOf(generation: Generation): string {
  const { length } = generation.processes()
  return length > 1
    ? `${length} workers, the first one pid ${mainPid(generation)}`
    : `pid ${mainPid(generation)}`
}
