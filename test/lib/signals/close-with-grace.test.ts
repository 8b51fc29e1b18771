import closeWithGrace from 'close-with-grace'
import t from 'tap'
import { isGraceListener, isSecondGraceListener } from '../../../lib/signals/close-with-grace.js'

t.test("close-with-grace's own listeners are known, and which of them is the first", t => {
  const before = new Set(process.rawListeners('SIGUSR2'))
  const { uninstall } = closeWithGrace({ delay: false }, async () => {})
  t.teardown(uninstall)
  const [added] = process.listeners('SIGUSR2').filter(listener => !before.has(listener))
  t.ok(isGraceListener(added!))
  t.notOk(isSecondGraceListener(added!))
  const [onError] = process.listeners('uncaughtException').slice(-1)
  t.ok(isGraceListener(onError!))
  t.end()
})

t.test('a bundled one is known too, and nobody else', t => {
  const run2 = (_given: object) => {}
  t.ok(
    isGraceListener(function onSignal2(signal: string) {
      run2({ signal })
    })
  )
  t.notOk(
    isGraceListener(function onSignal(signal: string) {
      run2({ signal, code: 0 } as object)
    })
  )
  t.notOk(isGraceListener(() => {}))
  t.ok(
    isSecondGraceListener(function afterFirstSignal(signal: string) {
      console.error(`second ${signal}, exiting`)
    })
  )
  t.end()
})
