import t from 'tap'
import { defaultOptions, textOptions } from '../../../lib/options.js'
import { rehearsalOptions } from '../../../lib/supervisor/command-line.js'
import { help } from '../../../lib/supervisor/help.js'

t.test('--help names each option of the plugin, with its default', t => {
  for (const name of textOptions) {
    const value = defaultOptions[name as keyof typeof defaultOptions]
    const option = `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`
    const line = help.split('\n').find(line => line.startsWith(`  ${option} `))
    t.ok(line, option)
    if (name !== 'controlSocket') t.ok(line?.endsWith(`(${value})`), `${option} is ${value}`)
  }
  t.end()
})

t.test('a line fits on a screen', t => {
  t.same(
    help.split('\n').filter(line => line.length > 120),
    []
  )
  t.end()
})

t.test('it names each option of a rehearsal', t => {
  for (const [name, takesValue] of rehearsalOptions)
    t.match(help, new RegExp(`^  ${name} ${takesValue ? "[A-Z'{]" : ' '}`, 'm'), name)
  t.end()
})
