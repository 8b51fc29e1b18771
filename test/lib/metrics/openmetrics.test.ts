import t from 'tap'
import { writeOpenMetrics } from '../../../lib/metrics/openmetrics.js'

t.test('a family is its metadata, and then its samples; the end is marked', async t => {
  const text = writeOpenMetrics([
    { name: 'a', type: 'gauge', help: 'One.', samples: [{ value: 1.5 }] },
    { name: 'b', type: 'counter', help: 'Two.', samples: [{ labels: { x: '1', y: '2' }, value: 0 }] },
    {
      ...{ name: 'c_seconds', type: 'summary', unit: 'seconds', help: 'Three.' },
      samples: [
        { suffix: '_count', labels: { x: '1' }, value: 2 },
        { suffix: '_sum', labels: { x: '1' }, value: 0.25 }
      ]
    },
    { name: 'd', type: 'gauge', help: 'None.', samples: [] }
  ])
  t.equal(
    text,
    `# TYPE a gauge
# HELP a One.
a 1.5
# TYPE b counter
# HELP b Two.
b_total{x="1",y="2"} 0
# TYPE c_seconds summary
# UNIT c_seconds seconds
# HELP c_seconds Three.
c_seconds_count{x="1"} 2
c_seconds_sum{x="1"} 0.25
# TYPE d gauge
# HELP d None.
# EOF
`
  )
})

t.test('what would end a line or a value is escaped', async t => {
  const text = writeOpenMetrics([
    { name: 'a', type: 'gauge', help: 'a "b"\nc\\d', samples: [{ labels: { x: '"\n\\' }, value: 1 }] }
  ])
  t.match(text, '# HELP a a \\"b\\"\\nc\\\\d\n')
  t.match(text, 'a{x="\\"\\n\\\\"} 1\n')
})
