import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'

/** For one test, and gone at its end. Its path has no links, and is short enough for Unix sockets: `t.testdir()`'s isn't. */
export function temporaryFolder(t: Test): string {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'fgu-')))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
