import type { Generation } from './generation.js'
import { isThere, pinRelease, placeOf } from './release.js'
import type { RestartContext } from './restart-context.js'
import type { WorkerStart } from './spawn.js'

/** One release, and how the next process of it is started. */
export interface Release {
  /** Where its code is, without links. */
  readonly place: string
  next(): RestartContext
}

/** Which release each generation runs. */
export interface Releases {
  /** The one that a generation to be started shall run: that of another one, while it is there; or else what is there now. */
  choose(start: Pick<WorkerStart, 'number' | 'release'>): Release
  note(generation: Generation, release: Release): void
  of(generation: Generation): Release | undefined
}

/** @param context how the nth process is started; all but the first one leave its debugger's port alone */
export function createReleases(context: (nth: number) => RestartContext): Releases {
  const known = new WeakMap<Generation, Release>()
  return {
    choose({ number, release }) {
      const chosen = release && known.get(release)
      return chosen && isThere(chosen.place) ? chosen : pin(number)
    },
    note: (generation, release) => void known.set(generation, release),
    of: generation => known.get(generation)
  }

  function pin(number: number): Release {
    const later = pinRelease(context(number + 1))
    let next = pinRelease(context(number))
    return {
      place: placeOf(context(number)),
      next() {
        const start = next()
        next = later
        return start
      }
    }
  }
}
