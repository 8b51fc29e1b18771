import t from 'tap'
import { isStatus, readAnswer } from '../../../lib/client/read-answer.js'
import { booting, probation, status, team } from '../../helper/control-examples.ts'

t.test('an answer is told from what is none, and from one of a later version', async t => {
  const known: unknown[] = [
    { result: null },
    { result: status },
    { progress: booting },
    { progress: probation(500, 7) },
    { progress: { stage: 'unchecked', generation: 2, request: 'GET /', outcome: 'answered 503' } },
    { error: { code: 'GRACEFUL_UPGRADE_OF_2040', message: 'too old' } }
  ]
  for (const answer of known) t.equal(readAnswer(answer), answer)
  const wrong = [
    undefined,
    null,
    7,
    'text',
    { progress: { stage: 'booting' } },
    { progress: { stage: 'unchecked', generation: 2 } },
    { progress: { ...probation(500, 7), left: undefined } },
    { progress: { ...probation(500, 7), pid: null } },
    { progress: { ...probation(500, 7), candidate: { responses: 7 } } },
    { progress: { ...probation(500, 7), current: null } },
    { error: 'no' }
  ]
  for (const answer of wrong) t.equal(readAnswer(answer), undefined)
  for (const answer of [{}, { hint: 1 }, { progress: null }, { progress: { stage: 'stretching' } }])
    t.equal(readAnswer(answer), 'unknown')
})

t.test('a status is whole, or none', async t => {
  t.ok(isStatus(status))
  t.ok(isStatus({ ...status, pluginVersion: undefined, more: 1 }), 'of an older, or a later version')
  t.ok(isStatus(team))
  t.notOk(isStatus({ ...team, balance: { moved: 1 } }))
  t.ok(isStatus({ ...team, probation: probation(500, 7) }))
  for (const name of ['generation', 'left', 'candidate', 'current'])
    t.notOk(isStatus({ ...team, probation: { ...probation(500, 7), [name]: undefined } }), name)
  for (const name of Object.keys(team.generations[0]!.workers![0]!)) {
    const [generation] = structuredClone(team.generations)
    Object.assign(generation!.workers![0]!, { [name]: 'x'.repeat(name === 'state' ? 0 : 1) })
    t.equal(isStatus({ ...team, generations: [generation] }), name === 'state', name)
  }
  for (const name of ['pid', 'mode', 'uptime', 'generations', 'listeners', 'upgrades'])
    t.notOk(isStatus({ ...status, [name]: undefined }), name)
})
