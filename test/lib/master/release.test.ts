import { mkdirSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { pinRelease, placeOf } from '../../../lib/master/release.js'
import { temporaryFolder } from '../../helper/folder.ts'

/** Two releases, and a link that leads to the first one. */
function setUp(t: Test) {
  const folder = realpathSync(temporaryFolder(t))
  const current = path.join(folder, 'current')
  for (const release of ['1', '2']) {
    mkdirSync(path.join(folder, release))
    writeFileSync(path.join(folder, release, 'server.js'), '')
  }
  symlinkSync('1', current)
  return { folder, current, flip, context }

  function flip(): void {
    symlinkSync('2', `${current}.new`)
    renameSync(`${current}.new`, current)
  }

  function context(args: readonly string[], main?: number) {
    const environment = { PWD: current, NAME: 'value' }
    return { command: 'node', args, directory: current, environment, ...(main !== undefined && { main }) }
  }
}

t.test('as long as the link leads there, the release is started as it was named', async t => {
  const { current, context } = setUp(t)
  const given = context([path.join(current, 'server.js')], 0)
  t.equal(pinRelease(given)(), given)
})

t.test('when it leads elsewhere, by its real paths', async t => {
  const { folder, current, flip, context } = setUp(t)
  const relative = pinRelease(context(['--flag', 'server.js', current], 1))
  const absolute = pinRelease(context([path.join(current, 'server.js')], 0))
  const withoutEnding = pinRelease(context([path.join(current, 'server')], 0))
  const command = pinRelease(context(['start', path.join(current, 'server.js')]))
  flip()
  const real = path.join(folder, '1')
  const environment = { PWD: real, NAME: 'value' }
  t.match(
    relative(),
    { args: ['--flag', 'server.js', current], directory: real, environment },
    'no other word'
  )
  t.same(absolute().args, [path.join(real, 'server.js')])
  t.same(withoutEnding().args, [path.join(real, 'server')])
  t.same(command().args, ['start', path.join(current, 'server.js')])
})

t.test('a relative path that leads through the link is one of the release, too', async t => {
  const { folder, flip, context } = setUp(t)
  const start = pinRelease({ ...context(['current/server.js'], 0), directory: folder })
  t.same(start().args, ['current/server.js'])
  flip()
  t.match(start(), { args: [path.join(folder, '1/server.js')], directory: folder })
})

t.test('a release that is gone is not taken for another one', async t => {
  const { folder, flip, context } = setUp(t)
  const start = pinRelease(context(['server.js'], 0))
  flip()
  rmSync(path.join(folder, '1'), { recursive: true })
  t.equal(start().directory, path.join(folder, '1'), 'its start fails, and says so')
})

t.test('its place is the script, without links; of a tool the directory that it is started in', async t => {
  const { folder, current, flip, context } = setUp(t)
  const places = () => [
    placeOf(context(['server.js'], 0)),
    placeOf(context(['--flag', path.join(current, 'server.js')], 1)),
    placeOf({ ...context(['current/server.js'], 0), directory: folder }),
    placeOf(context(['start', 'server.js'])),
    placeOf(context(['/usr/lib/node_modules/fastify-cli/cli.js', 'start', 'server.js'], 0))
  ]
  const expected = (release: string) => [
    ...Array(3).fill(path.join(folder, release, 'server.js')),
    ...Array(2).fill(path.join(folder, release))
  ]
  t.same(places(), expected('1'))
  flip()
  t.same(places(), expected('2'))
})
