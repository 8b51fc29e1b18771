import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import type { Test } from 'tap'
import { asRawHandle, asSendHandle, type RawHandle } from '../../lib/internals/raw-handle.js'
import { fixtures } from './server.ts'

/** What becomes of a connection's handle on the way through another process: the same connection with a descriptor of its own. */
export async function handlePasser(t: Test): Promise<(handle: RawHandle) => Promise<RawHandle>> {
  const child = fork(path.join(fixtures, 'echo.cjs'), { execArgv: [] })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  await once(child, 'message') // it is there
  return async handle => {
    child.send({}, asSendHandle(handle))
    const [, back] = await once(child, 'message')
    return asRawHandle(back) as RawHandle
  }
}
