import t from 'tap'
import { noCounters } from '../../../lib/metrics/counters.js'
import { metricsOf } from '../../../lib/metrics/metrics.js'
import { status, team } from '../../helper/control-examples.ts'
import { valuesOf } from '../../helper/metrics.ts'

t.test('connections are those of all workers that say so, of all generations', async t => {
  const values = valuesOf(metricsOf(team, noCounters()))
  for (const [name, value] of Object.entries({
    'connections{state="idle"}': 28,
    'connections{state="active"}': 5,
    'connections{state="detached"}': 2,
    'generations{state="serving"}': 1,
    'generations{state="draining"}': 1,
    'generations{state="closing"}': 0,
    'generations{state="booting"}': 0,
    generation: 3
  }))
    t.equal(values.get(name), value, name)
})

t.test('times are in seconds, and what is not known yet has no value', async t => {
  const counters = noCounters()
  t.notOk(valuesOf(metricsOf(status, counters)).has('last_upgrade_success_timestamp_seconds'))
  counters.lastSuccess = 1_795_000_000_500
  counters.longestPause = 12
  counters.durations.drain.count = 2
  counters.durations.drain.ms = 4_500
  counters.generation = 9
  const values = valuesOf(metricsOf(status, counters))
  t.equal(values.get('last_upgrade_success_timestamp_seconds'), 1_795_000_000.5)
  t.equal(values.get('longest_pause_seconds'), 0.012)
  t.equal(values.get('upgrade_duration_seconds_sum{phase="drain"}'), 4.5)
  t.equal(values.get('upgrade_duration_seconds_count{phase="drain"}'), 2)
  t.equal(values.get('generation'), 9, 'the master knows better than the list, in which it may be dead')
})

t.test('each metric that is promised is there, with a value for each of its labels', async t => {
  const names = [...valuesOf(metricsOf(status, noCounters())).keys()]
  t.equal(names.length, 29)
  for (const name of ['upgrades_total{result="rolled_back"}', 'worker_restarts_total{reason="memory"}'])
    t.ok(names.includes(name), name)
})
