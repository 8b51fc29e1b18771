import t from 'tap'
import { createPending } from '../../../lib/time/pending.js'

/** Asks, and notes the ids that went out. */
function setUp() {
  const pending = createPending<string>()
  const sent: number[] = []
  return { ...pending, sent, ask: () => pending.ask(id => sent.push(id)) }
}

t.test('each question gets the answer with its id, in whatever order they come', async t => {
  const { ask, answer, refuse, sent } = setUp()
  const asked = [ask(), ask(), ask()]
  t.equal(new Set(sent).size, 3)
  answer(sent[2]!, 'third')
  refuse(sent[1]!, new Error('second'))
  answer(sent[0]!, 'first')
  t.same(
    (await Promise.allSettled(asked)).map(result => (result as any).value ?? (result as any).reason.message),
    ['first', 'second', 'third']
  )
})

t.test('an answer that nobody waits for is ignored, and so is a second one', async t => {
  const { ask, answer, refuse, sent } = setUp()
  answer(1, 'early')
  refuse(17, new Error('unknown'))
  const asked = ask()
  answer(sent[0]!, 'first')
  answer(sent[0]!, 'second')
  refuse(sent[0]!, new Error('third'))
  t.equal(await asked, 'first')
})

t.test('an answer may come while the question is sent', async t => {
  const { ask, answer } = createPending<string>()
  t.equal(await ask(id => answer(id, 'at once')), 'at once')
})

t.test(
  'when the other end is gone, all that wait are answered, or refused; later ones wait again',
  async t => {
    const { ask, answer, answerAll, refuseAll, sent } = setUp()
    const asked = [ask(), ask()]
    answerAll('lost')
    answer(sent[0]!, 'too late')
    t.same(await Promise.all(asked), ['lost', 'lost'])

    const refused = [ask(), ask()]
    refuseAll(new Error('gone'))
    for (const each of refused) await t.rejects(each, { message: 'gone' })

    const later = ask()
    answer(sent.at(-1)!, 'later')
    t.equal(await later, 'later')
  }
)

t.test('with a limit silence is an answer, and an answer that comes then is ignored', async t => {
  const { ask, answer } = createPending<string>()
  let asked = 0
  const answered = ask(
    id => {
      asked = id
    },
    { ms: 1, answer: 'silence' }
  )
  t.equal(await answered, 'silence')
  answer(asked, 'too late')
  const timers = () => process.getActiveResourcesInfo().filter(name => name === 'Timeout').length
  const before = timers()
  const inTime = ask(id => answer(id, 'in time'), { ms: 2 ** 30, answer: 'silence' })
  t.equal(timers(), before + 1)
  t.equal(await inTime, 'in time')
  t.equal(timers(), before, 'no timer is left')
})
