/** What is made of the answers of a master, over a real control socket. */
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Progress } from '../../../lib/control/messages.js'
import { GracefulUpgradeError } from '../../../lib/errors.js'
import { beginUpgrade } from '../../../lib/rehearsal/upgrade.js'
import { controlFolder, never } from '../../helper/control.ts'

type Reload = (onProgress: (progress: Progress) => void) => Promise<void>

async function upgrade(t: Test, reload: Reload, signal = new AbortController().signal) {
  const { asked, open } = controlFolder(t)
  await open(asked, { reload })
  return beginUpgrade(asked, signal)
}

const booting = { stage: 'booting', generation: 2, pid: 7 } as const
const ready = { stage: 'ready', generation: 2, pid: 7, ms: 5 } as const
const retired = {
  stage: 'retired',
  generation: 1,
  pid: 6,
  ms: 30,
  code: 0,
  signal: null,
  report: null
} as const

t.test('it is ready when the new generation serves, and over when the old one has ended', async t => {
  let retire = () => {}
  const change = await upgrade(t, async tell => {
    tell(booting)
    tell(ready)
    await new Promise<void>(resolve => {
      retire = resolve
    })
    tell(retired)
  })
  const { generation, boot, drain } = await change.ready
  t.same([generation, drain], [2, undefined])
  t.ok(boot! > 0)
  retire()
  t.match(await change.over, { generation: 2, drain: 30, badEnd: undefined })
})

t.test('a probation is not a slow boot', async t => {
  const begun = performance.now()
  const probation = { stage: 'probation', generation: 2, pid: 7, left: 0 } as const
  const none = { responses: 0, errors: 0 }
  const change = await upgrade(t, async tell => {
    tell(booting)
    for (let look = 0; look < 3; look++) tell({ ...probation, candidate: none, current: none })
    await sleep(1_000)
    tell(ready)
  })
  const { boot } = await change.ready
  t.ok(boot! < performance.now() - begun - 500, `${boot} ms`)
})

t.test('an old one that does not end well is told of', async t => {
  const ends = async (end: Partial<Progress>) =>
    (await upgrade(t, async tell => tell({ ...retired, ...end } as Progress))).over
  t.match(await ends({ code: 3 }), { badEnd: 'exit code 3' })
  t.match(await ends({ code: null, signal: 'SIGKILL' }), { badEnd: 'SIGKILL' })
})

t.test('one that fails is no defect, and what is not waited for has not failed', async t => {
  const failing = await upgrade(t, async tell => {
    tell(booting)
    throw new GracefulUpgradeError('GRACEFUL_UPGRADE_EXITED', 'generation 2 has ended')
  })
  t.match(await failing.ready, { generation: 2, failure: { code: 'GRACEFUL_UPGRADE_EXITED' } })
  const patience = new AbortController()
  const hanging = await upgrade(
    t,
    tell => {
      tell(ready)
      return never()
    },
    patience.signal
  )
  await hanging.ready
  patience.abort()
  t.match(await hanging.over, { generation: 2, failure: undefined, drain: undefined })
})
