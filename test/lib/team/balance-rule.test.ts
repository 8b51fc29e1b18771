/** The rule by which busy workers give connections away, over looks that the test makes up. */
import t from 'tap'
import {
  acted,
  emptyPicture,
  lookAgain,
  type Order,
  orderBy,
  type Picture
} from '../../../lib/team/balance-rule.js'

/** Looks at workers that are named by their places. */
function look(picture: Picture<number>, ...elus: number[]): Picture<number> {
  return lookAgain(picture, new Map(elus.entries()))
}

/** Workers that were looked at for long, and are as busy as each other. */
function even(workers: number, elu = 0.4): Picture<number> {
  let picture = emptyPicture<number>()
  for (let looks = 0; looks < 10; looks++) picture = look(picture, ...Array(workers).fill(elu))
  return picture
}

/** What is ordered at the first look that leads to anything, from that on at which the loads are these. */
function firstOrder(before: Picture<number>, ...elus: number[]): { looks: number; order?: Order<number> } {
  let picture = before
  for (let looks = 1; looks <= 60; looks++) {
    picture = look(picture, ...elus)
    const order = orderBy(picture)
    if (order !== undefined) return { looks, order }
  }
  return { looks: 60 }
}

t.test('an even load is left alone, and so is what is nearly even', async t => {
  for (const workers of [1, 2, 3, 8]) {
    for (const elu of [0, 0.01, 0.5, 1]) {
      const elus = Array<number>(workers).fill(elu)
      t.notOk(firstOrder(even(workers, elu), ...elus).order, `${elus}`)
    }
  }
  t.notOk(firstOrder(even(2), 0.6, 0.4).order)
  t.notOk(firstOrder(even(3), 0.2, 0.05, 0).order)
  t.notOk(orderBy(emptyPicture()))
})

t.test(
  'a busy one gives connections away at the second look, by the share that is half of what is due',
  async t => {
    const { looks, order } = firstOrder(even(2, 0.6), 1, 0.2)
    t.equal(looks, 2)
    t.match(order, { from: 0 })
    t.ok(Math.abs(order!.gap - 0.6) < 1e-9, 'three quarters of what is seen now')
    t.ok(Math.abs(order!.share - 0.6 / (4 * 0.9)) < 1e-9)
  }
)

for (const [elus, from, looks] of [
  [[0.2, 1], 1, 2],
  [[1, 0], 0, 2],
  [[0.5, 0], 0, 2],
  [[0.1, 0.4, 0.1], 1, 5],
  [[0.2, 0.9, 0.6], 1, 2],
  [[1, 1, 0.4], 0, 2],
  [[0.9, 0.9, 0.9, 0.5], 0, 3],
  [[0.22, 0], 0, 15]
] as const) {
  t.test(`of ${elus.join(', ')} it is worker ${from}, after ${looks} looks`, async t => {
    const found = firstOrder(even(elus.length), ...elus)
    t.match(found, { looks, order: { from } })
    const { share } = found.order!
    t.ok(share > 0 && share <= 0.25, `${share}`)
  })
}

t.test('one look that is far out is nothing', async t => {
  let picture = even(2, 0.2)
  for (let looks = 0; looks < 40; looks++) {
    picture = look(picture, looks % 8 === 0 ? 0.8 : 0.2, 0.2)
    t.notOk(orderBy(picture), `look ${looks}`)
  }
})

t.test('after something was done two looks are waited for again', async t => {
  let picture = look(look(even(2), 1, 0), 1, 0)
  t.ok(orderBy(picture))
  picture = acted(picture)
  t.notOk(orderBy(picture))
  picture = look(picture, 1, 0)
  t.notOk(orderBy(picture))
  t.match(orderBy(look(picture, 1, 0)), { from: 0 })
})

t.test('a new one counts from its second look on, whatever it did while it started', async t => {
  let picture = look(even(2), 0.4, 0.4, 1)
  picture = look(picture, 0.4, 0.4, 0)
  t.notOk(orderBy(picture), 'its start is not seen')
  picture = look(picture, 0.4, 0.4, 0)
  t.match(orderBy(picture), { share: 0.25, gap: 0.4 })
  const alone = lookAgain(lookAgain(emptyPicture<number>(), new Map([[0, 1]])), new Map([[0, 1]]))
  t.notOk(firstOrder(look(alone, 1, 0), 1, 1).order)
})

t.test('one that goes is forgotten, and its gap with it', async t => {
  let picture = look(even(3), 0.4, 0.4, 1)
  picture = look(picture, 0.4, 0.4, 1)
  t.match(orderBy(picture), { from: 2 })
  picture = look(picture, 0.4, 0.4)
  t.notOk(orderBy(picture))
  t.same([...picture.workers.keys()], [0, 1])
  picture = look(picture, 0.4, 0.4, 0.4)
  t.equal(picture.workers.get(2)!.smooth, null, 'who comes in its place is a new one')
})

t.test('one that is silent does not keep another from giving, where that is too busy as well', async t => {
  const three = look(look(even(3), 1, 0.9, 0.2), 1, 0.9, 0.2)
  t.match(orderBy(three), { from: 0 })
  t.match(orderBy(three, 0), { from: 1 })
  t.match(orderBy(three, 1), { from: 0 })
  t.match(orderBy(three, 2), { from: 0 })
  const two = look(look(even(2), 1, 0.2), 1, 0.2)
  t.match(orderBy(two, 0), { from: 0 }, 'there is no other')
  const onlyOne = look(look(even(3), 1, 0.25, 0.2), 1, 0.25, 0.2)
  t.match(orderBy(onlyOne, 0), { from: 0 })
})

/** Numbers from 0 to 1, the same in each run. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const random = createRandom(7)

const noises: Record<string, () => number> = {
  'up to 0.1': () => random() * 0.2 - 0.1,
  'of a standard deviation of 0.1': () =>
    0.1 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

for (const [name, noise] of Object.entries(noises)) {
  for (const workers of [2, 3, 4, 8]) {
    t.test(`noise ${name} moves less than 1 % a minute among ${workers} that are even`, async t => {
      const minutes = 100
      let moved = 0
      let picture = even(workers)
      for (let looks = 0; looks < minutes * 120; looks++) {
        picture = look(picture, ...Array.from({ length: workers }, () => Math.max(0.4 + noise(), 0)))
        const order = orderBy(picture)
        if (order === undefined) continue
        moved += order.share / workers
        picture = acted(picture)
      }
      t.ok(moved / minutes < 0.01, `${((100 * moved) / minutes).toFixed(3)} % a minute`)
    })
  }
}

/**
 * Workers with connections that are alike, each of them so much of a worker's time, as by the rule.
 * @returns how many each has in the end, and how many were moved
 */
function play(counts: number[], each: number, minutes: number) {
  const spread = createRandom(3)
  let picture = even(counts.length)
  let moved = 0
  for (let looks = 0; looks < minutes * 120; looks++) {
    picture = look(picture, ...counts.map(count => Math.min(count * each * (0.95 + 0.1 * spread()), 1)))
    const order = orderBy(picture)
    if (order === undefined) continue
    const least = counts.indexOf(Math.min(...counts))
    const gone = Math.max(Math.floor(counts[order.from]! * order.share), 1)
    counts[order.from]! -= gone
    counts[least]! += gone
    moved += gone
    picture = acted(picture)
  }
  return { counts, moved }
}

t.test('what is uneven becomes even within seconds, and then nothing moves', async t => {
  for (const [before, each] of [
    [[300, 0], 0.003],
    [[300, 0, 0, 0], 0.003],
    [[8, 0], 0.1],
    [[100, 100, 0], 0.004],
    [[200, 100, 0], 0.004]
  ] as const) {
    const soon = play([...before], each, 0.25)
    const [most, least] = [Math.max(...soon.counts), Math.min(...soon.counts)]
    t.ok((most - least) * each < 0.3, `${before} has become ${soon.counts}`)
    const later = play([...before], each, 20)
    t.same(later.counts, play([...before], each, 10).counts, `${later.counts}`)
    t.ok(later.moved <= Math.max(...before), `${later.moved} were moved`)
  }
})
