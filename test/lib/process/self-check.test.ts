import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { defaultOptions } from '../../../lib/options.js'
import { passSelfCheck } from '../../../lib/process/self-check.js'
import type { CheckFailure } from '../../../lib/protocol/check-failure.js'
import { createDeferred } from '../../../lib/time/deferred.js'
import { playApplication, playInstance } from '../../helper/play/process.ts'
import { stopTimers } from '../../helper/timers.ts'

const pass = stopTimers(t)

/** Instances whose answers the test gives: a status each, 0 for never. */
function play() {
  const { application, instances, lines } = playApplication()
  const asked: string[] = []
  const failures: CheckFailure[] = []
  const over = new AbortController()
  const news = {
    onAsk: async (request: string) => void asked.push(`told ${request}`),
    onFailure: (failure: CheckFailure) => void failures.push(failure),
    over: over.signal
  }
  return {
    ...{ application, instances, lines, asked, failures, over },
    add(name: string, status: { code: number }, booted = true) {
      const inject = async ({ url }: { url: string }) => {
        asked.push(`${name} ${url}`)
        if (status.code === 0) await new Promise(() => {})
        return { statusCode: status.code, body: `${name}!` }
      }
      const options = { ...defaultOptions, check: `/${name}` }
      const { instance } = playInstance(name, [], { app: { inject } as never, options, booted })
      instances.add(instance)
      return instance
    },
    /** Whether it has passed after so many milliseconds. */
    begin() {
      let hasPassed = false
      void passSelfCheck(application, news).then(() => {
        hasPassed = true
      })
      return async (ms: number) => {
        await pass(ms)
        await turn()
        return hasPassed
      }
    }
  }
}

t.test('without a check it passes at once, also where nothing is registered', async t => {
  const { application, instances, begin } = play()
  t.ok(await begin()(0))
  instances.add(playInstance('app', []).instance)
  t.equal(application.options.check, false)
  t.ok(await begin()(0))
})

t.test('all instances are asked again each second, until all pass in one round', async t => {
  const { add, begin, asked, failures, lines } = play()
  const [a, b] = [{ code: 200 }, { code: 503 }]
  add('a', a)
  add('b', b)
  const after = begin()
  t.notOk(await after(0))
  t.same(asked, ['told GET /a', 'a /a', 'told GET /b', 'b /b'])
  t.same(failures, [{ request: 'GET /b', outcome: 'answered 503', body: 'b!' }])
  t.notOk(await after(999))
  t.equal(asked.length, 4)
  ;[a.code, b.code] = [500, 200]
  t.notOk(await after(1))
  t.same(asked.splice(4), ['a /a'], 'there is a better reason now than that an answer takes its time')
  ;[a.code, b.code] = [200, 204]
  t.ok(await after(1_000))
  t.same(asked.splice(4), ['a /a', 'b /b'])
  t.equal(failures.length, 2)
  t.same(lines, ['info: check passed'])
  await after(5_000)
  t.equal(asked.length, 4, 'and never again')
})

t.test('nothing is asked before it is known what, as it may stop the process', async t => {
  const { application, add, asked } = play()
  add('a', { code: 200 })
  const told = createDeferred()
  const passed = passSelfCheck(application, {
    onAsk: () => told.promise,
    onFailure() {},
    over: new AbortController().signal
  })
  await turn()
  t.same(asked, [])
  told.resolve()
  await passed
  t.same(asked, ['a /a'])
})

t.test('the same failure is told once', async t => {
  const { add, begin, failures } = play()
  const status = { code: 503 }
  add('a', status)
  const after = begin()
  for (const code of [503, 503, 500, 500, 503]) {
    status.code = code
    await after(1_000)
  }
  t.same(
    failures.map(({ outcome }) => outcome),
    ['answered 503', 'answered 500', 'answered 503']
  )
})

t.test('one that boots yet is not asked, as that would end its boot', async t => {
  const { add, begin, asked, failures } = play()
  const instance = add('a', { code: 200 }, false)
  const after = begin()
  t.notOk(await after(1_000))
  t.same(asked, [])
  instance.booted = true
  t.ok(await after(1_000))
  t.same(failures, [])
})

t.test('an application that ends, or closes what fails, never passes', async t => {
  for (const [how, end] of Object.entries<(played: ReturnType<typeof play>) => void>({
    ends: ({ application }) => (application.ending = true),
    'has closed all': ({ instances }) => instances.clear(),
    'is not asked any more': ({ over }) => over.abort()
  })) {
    const played = play()
    const status = { code: 503 }
    played.add('a', status)
    const after = played.begin()
    await after(0)
    end(played)
    status.code = 200
    t.notOk(await after(1_000), how)
    await after(5_000)
    t.same(played.lines, [])
    t.equal(played.asked.filter(each => each === 'a /a').length, 1, 'it is left alone')
  }
})
