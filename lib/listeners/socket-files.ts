import { isSocketFile, moveIntoPlace, socketFile, type UnixSocketFile } from './unix-socket.js'

/** What a Unix socket is bound to. */
export interface BoundPath {
  /** As the application spelled it. */
  readonly asked: string
  /** What it is bound to until it is moved; an inherited one is in place already. */
  readonly temporary?: string
}

/**
 * What becomes of the file of a socket that stops: it is removed by the last one who holds the socket. That is us; or it
 * is undecided, as a generation that boots may have inherited it; or the next generation serves, and the files are its.
 */
export type Fate = 'ours' | 'undecided' | 'theirs'

/** The files of the Unix sockets of this process. */
export interface SocketFiles {
  /**
   * A socket is bound: gives it its name.
   * @returns undefined where there is no file
   * @throws where it can't be moved into place
   */
  bind(path: BoundPath): UnixSocketFile | undefined
  /** The server of this one accepts no more. */
  stopped(file: UnixSocketFile): void
  /** Others hold the sockets too, and go on with them: no file is removed until that is over. */
  share(value: boolean): void
  /** From now on this is so; what was decided for good stays. */
  settle(fate: Fate): void
  isUndecided(): boolean
}

export function createSocketFiles(): SocketFiles {
  let fate: Fate = 'ours'
  let isShared = false
  /** Of those that have stopped while it was undecided. */
  const waiting = new Set<UnixSocketFile>()

  return { bind, stopped, share, settle, isUndecided: () => fate === 'undecided' }

  function bind({ asked, temporary }: BoundPath): UnixSocketFile | undefined {
    if (temporary !== undefined) return moveIntoPlace(temporary, asked)
    return isSocketFile(asked) ? socketFile(asked) : undefined
  }

  function stopped(file: UnixSocketFile): void {
    if (fate === 'undecided') waiting.add(file)
    else if (fate === 'ours' && !isShared) removeSocketFile(file)
  }

  function share(value: boolean): void {
    isShared = value
  }

  function settle(next: Fate): void {
    if (fate === 'theirs') return
    fate = next
    if (fate === 'undecided') return
    for (const file of waiting) stopped(file)
    waiting.clear()
  }
}

function removeSocketFile(file: UnixSocketFile): void {
  try {
    file.remove()
  } catch {} // whoever comes next replaces it; the requests in hand matter more
}
