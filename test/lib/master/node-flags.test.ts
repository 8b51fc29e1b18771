import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { checkFlags } from '../../../lib/master/node-flags.js'
import { temporaryFolder } from '../../helper/folder.ts'
import { cleanEnvironment } from '../../helper/server.ts'

const place = { command: process.execPath, directory: import.meta.dirname, environment: cleanEnvironment() }

t.test('what Node.js and V8 take on the command line is taken', async t => {
  const directory = temporaryFolder(t)
  writeFileSync(path.join(directory, '.env'), '')
  const flags = ['--import=tsx', '--no-warnings', '--env-file=.env', '--title=a b', '--inspect-brk=9229']
  checkFlags([...flags, '--expose-gc', '--max_old_space_size=100', '--cpu-prof'], { ...place, directory })
  checkFlags([], { ...place, command: 'not even asked' })
})

for (const [flag, reason] of Object.entries({
  '--bogus': 'bad option: --bogus',
  '--drain-timeot=5': 'bad option: --drain-timeot=5',
  '--import': '--import requires an argument',
  '--env-file': '--env-file requires an argument',
  '--env-file=nowhere': 'nowhere: not found',
  '--max-old-space-size=a': 'bad option: --max-old-space-size=a'
})) {
  t.test(`${flag} is refused, in the words of Node.js`, async t => {
    t.throws(() => checkFlags(['--no-warnings', flag], place), {
      code: 'GRACEFUL_UPGRADE_USAGE',
      message: `this command line cannot be used: node says '${reason}'; its options are --option or --option=value, as in --import=tsx; see graceful-upgrade --help`
    })
  })
}

t.test('a command that is not there is no matter of flags', async t => {
  t.doesNotThrow(() => checkFlags(['--bogus'], { ...place, command: '/nowhere/node' }))
})
