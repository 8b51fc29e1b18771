import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { beginProbation, type Outcome, type ProbationStatus } from '../../../lib/probation/probation.js'
import type { Tally } from '../../../lib/protocol/probation.js'
import { createDeferred } from '../../../lib/time/deferred.js'

interface Ended {
  readonly code: number | null
  readonly signal: string | null
}

function side(number: number) {
  const ended = createDeferred<Ended>()
  const [dying, leaving] = [createDeferred(), createDeferred()]
  const played = {
    number,
    answered: { responses: 100, errors: 0 } as Tally | null,
    ended: ended.promise,
    dying: dying.promise,
    leaving: leaving.promise,
    end: ended.resolve,
    die: dying.resolve,
    leave: leaving.resolve,
    tally: async () => played.answered
  }
  return played
}

/** Generation 3 is on probation for 10 s beside generation 2. */
function setUp(more = {}) {
  let time = 0
  let waiting: { readonly until: number; readonly resolve: () => void } | undefined
  const [candidate, current] = [side(3), side(2)]
  const completed = createDeferred()
  let isCompleting = false
  const looks: ProbationStatus[] = []
  const probation = beginProbation({
    candidate: Object.assign(candidate, {
      complete() {
        isCompleting = true
        return completed.promise
      }
    }),
    current,
    time: 10_000,
    onLook: status => looks.push(status),
    now: () => time,
    pause(ms, signal) {
      const { promise, resolve } = createDeferred()
      waiting = { until: time + ms, resolve }
      signal.addEventListener('abort', () => resolve())
      return promise
    },
    ...more
  })
  let outcome: Outcome | undefined
  void probation.outcome.then(given => {
    outcome = given
  })
  return { candidate, current, probation, looks, completed, isCompleting: () => isCompleting, after }

  /** What is known then. */
  async function after(ms: number): Promise<Outcome | undefined> {
    const end = time + ms
    await settled()
    while (waiting !== undefined && waiting.until <= end) {
      time = waiting.until
      waiting.resolve()
      waiting = undefined
      await settled()
    }
    time = end
    return outcome
  }

  async function settled(): Promise<void> {
    for (let count = 0; count < 5; count++) await turn()
  }
}

t.test('when its time is over it is completed, and confirmed if it answers yet', async t => {
  const { after, candidate, isCompleting, completed, probation } = setUp()
  t.equal(await after(9_900), undefined)
  t.notOk(isCompleting())
  t.equal(probation.status().left, 100)
  t.equal(await after(100), undefined)
  t.ok(isCompleting())
  candidate.answered = null
  completed.resolve()
  t.equal(await after(1_000), undefined)
  candidate.answered = { responses: 1, errors: 0 }
  t.same(await after(500), { name: 'confirmed', reason: 'its time is over' })
})

t.test('it is confirmed early by whoever says so', async t => {
  const { after, completed, probation } = setUp()
  completed.resolve()
  await after(700)
  probation.confirm('somebody says so')
  probation.confirm('somebody says so')
  t.same(await after(0), { name: 'confirmed', reason: 'somebody says so' })
})

t.test('one whose other workers fail has failed', async t => {
  const { after, completed } = setUp()
  await after(10_000)
  completed.reject(new Error('worker 1 has ended'))
  t.same(await after(0), { name: 'failed', reason: 'worker 1 has ended' })
})

t.test('its end, an uncaught error, or a signal is known at once', async t => {
  const fate = async (call: (candidate: ReturnType<typeof side>) => void) => {
    const { after, candidate } = setUp()
    await after(100)
    call(candidate)
    return after(0)
  }
  const failed = (reason: string) => ({ name: 'failed', reason })
  t.same(await fate(({ end }) => end({ code: 7, signal: null })), failed('it has ended by code 7'))
  t.same(await fate(({ end }) => end({ code: null, signal: 'SIGABRT' })), failed('it has ended by SIGABRT'))
  t.same(await fate(({ die }) => die()), failed('it has an uncaught error'))
  t.same(await fate(({ leave }) => leave()), failed('a signal has asked it to end'))
})

t.test('more errors than the other one has are found as soon as they are told', async t => {
  const { after, candidate, current, probation, looks } = setUp()
  await after(1_100)
  t.equal(looks.length, 2)
  current.answered = { responses: 270, errors: 0 }
  candidate.answered = { responses: 30, errors: 3 }
  probation.erred()
  t.same(await after(0), {
    name: 'failed',
    reason: '3 of its 30 responses were 5xx, and 0 of 270 by generation 2'
  })
})

t.test('an error that is told of during a look is looked at behind it', async t => {
  const { after, candidate, current, probation } = setUp()
  current.answered = { responses: 270, errors: 0 }
  const { tally } = candidate
  const answer = createDeferred<Tally>()
  candidate.tally = () => answer.promise
  await after(500)
  probation.erred()
  candidate.tally = tally
  candidate.answered = { responses: 30, errors: 3 }
  answer.resolve({ responses: 28, errors: 1 })
  t.match(await after(0), { name: 'failed' })
})

t.test('the same errors of both are no reason, but for a limit that somebody wants', async t => {
  const answered = { responses: 100, errors: 30 }
  const patient = setUp()
  const strict = setUp({ errorRate: 0.2 })
  for (const { candidate, current } of [patient, strict]) {
    candidate.answered = answered
    current.answered = { responses: 900, errors: 270 }
  }
  t.equal(await patient.after(5_000), undefined)
  t.same(await strict.after(500), {
    name: 'failed',
    reason: '30 of its 100 responses were 5xx, and 270 of 900 by generation 2'
  })
})

t.test('one that is silent for longer than the hang time hangs, but not if both are', async t => {
  const { after, candidate } = setUp()
  candidate.answered = null
  t.equal(await after(5_000), undefined)
  t.match(await after(500), { name: 'failed', reason: /not answered for/, hangs: true })
  const both = setUp()
  both.candidate.answered = both.current.answered = null
  t.equal(await both.after(9_000), undefined)
  both.current.answered = { responses: 1, errors: 0 }
  t.match(await both.after(500), { hangs: true })
})

t.test('a machine that has stood still is not its fault', async t => {
  let slept = 0
  let time = 0
  const { after, candidate } = setUp({ now: () => time + slept })
  const pass = (ms: number) => {
    time += ms
    return after(ms)
  }
  await pass(500)
  slept = 60_000
  candidate.answered = null // it is slower to come back
  t.equal(await pass(500), undefined)
  t.equal(await pass(500), undefined)
  candidate.answered = { responses: 100, errors: 0 }
  await pass(500)
  candidate.answered = null
  t.equal(await pass(1_000), undefined, 'nor is it counted later')
})

t.test('one that is silent at the end of its time is not confirmed', async t => {
  const { after, candidate, isCompleting } = setUp({ time: 1_000 })
  candidate.answered = null
  t.equal(await after(4_000), undefined)
  t.notOk(isCompleting())
})

t.test(
  'when the other one dies it is promoted as soon as it answers, and has failed if it hangs',
  async t => {
    for (const how of ['end', 'die'] as const) {
      const { after, current } = setUp()
      await after(100)
      if (how === 'end') current.end({ code: 1, signal: null })
      else current.die()
      t.same(await after(0), { name: 'promoted', reason: 'generation 2 has died' })
    }
    const busy = setUp()
    busy.candidate.answered = null
    busy.current.end({ code: 1, signal: null })
    t.equal(await busy.after(4_000), undefined, 'it has the time that it always has')
    busy.candidate.answered = { responses: 1, errors: 0 }
    t.match(await busy.after(500), { name: 'promoted' })
    const { after, candidate, current } = setUp()
    candidate.answered = current.answered = null
    current.end({ code: 1, signal: null })
    t.equal(await after(5_000), undefined)
    t.match(await after(500), { name: 'failed', reason: /^generation 2 has died, and it/, hangs: true })
  }
)

t.test('what comes first is what counts', async t => {
  const { after, candidate, probation } = setUp()
  probation.end({ name: 'closing' })
  candidate.end({ code: 1, signal: null })
  t.same(await after(20_000), { name: 'closing' })
})
