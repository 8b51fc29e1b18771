import t from 'tap'
import { whyUnsupported } from '../../../lib/process/supported.js'

t.test('where no upgrade is possible, the reason is told', t => {
  const here = { platform: 'linux', isClusterWorker: false, isMainThread: true } as const
  t.equal(whyUnsupported(here), undefined)
  t.match(whyUnsupported({ ...here, platform: 'win32' }), /Windows/)
  t.match(whyUnsupported({ ...here, isClusterWorker: true }), /node:cluster/)
  t.match(whyUnsupported({ ...here, isMainThread: false }), /main thread/)
  t.end()
})
