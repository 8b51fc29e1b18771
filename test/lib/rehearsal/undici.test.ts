import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { loadUndici } from '../../../lib/rehearsal/undici.js'
import { temporaryFolder } from '../../helper/folder.ts'

t.test("the application's own comes first, then that of this package", async t => {
  const folder = temporaryFolder(t)
  t.ok((await loadUndici(folder)).Client)
  const own = path.join(folder, 'node_modules/undici')
  mkdirSync(own, { recursive: true })
  writeFileSync(path.join(own, 'index.js'), 'exports.Client = "own"')
  t.equal((await loadUndici(folder)).Client as unknown, 'own')
})

t.test('where there is none it is asked for by name', async t => {
  const folder = temporaryFolder(t)
  const missing = loadUndici(folder, path.join(folder, 'rehearse.js'))
  await t.rejects(missing, {
    code: 'GRACEFUL_UPGRADE_USAGE',
    message: /needs an HTTP client: npm install --save-dev undici@[78];?/
  })
})
