/**
 * close-with-grace of the application, which its own delay would let end the process in the middle of a drain. Nothing of
 * it can be asked whose listener is whose; so they are known by their source text, which is the same in all of 1.x and 2.x.
 * A bundler may have put a number behind a name. One that a minifier has changed is not known, and stays as it is.
 */

/** What listens for a first signal, or for a first uncaught error. */
export function isGraceListener(listener: object): boolean {
  return /^function(onSignal|onError)[$\d]*\((signal|err)\)\{run[$\d]*\(\{\2\}\);?\}$/.test(
    sourceOf(listener)
  )
}

/** What listens for a second signal once it has heard of the first one. */
export function isSecondGraceListener(listener: object): boolean {
  return /^functionafterFirstSignal.*second\$\{signal\},exiting/.test(sourceOf(listener))
}

function sourceOf(listener: object): string {
  return Function.prototype.toString.call(listener).replace(/\s+/g, '')
}
