// The types of the package, in one file, and what is in front of its code. That is CommonJS, dist/index.cjs: so there is one
// copy of its state in a process, however it is loaded, and it can be loaded where require() takes no ES module, as in Jest.
// There the plugin function is the module itself, and has the rest as its properties, as in Fastify's own packages.
import dts from 'rollup-plugin-dts'

const declaration = /^declare const gracefulUpgrade: (.+);$/m
const exported = /^export \{ (.+) \};\nexport type \{ (.+) \};\s*$/m

export default {
  input: 'lib/index.ts',
  output: { file: 'dist/index.d.cts' },
  plugins: [dts(), { name: 'in front', renderChunk: inFront }]
}

function inFront(types) {
  const [, type] = declaration.exec(types)
  const [, values, names] = exported.exec(types)
  const named = values
    .split(', ')
    .filter(name => !name.endsWith(' as default'))
    .join(', ')
  const file = (fileName, ...lines) =>
    this.emitFile({ type: 'asset', fileName, source: `${lines.join('\n')}\n` })
  // Node.js looks through what is imported for the names that it exports: of all the code that takes 90 ms.
  file('front.cjs', "const main = require('./index.cjs')", 'module.exports = main')
  file(
    'index.js',
    "import main from './front.cjs'",
    'export default main',
    `export const { ${named} } = main`
  )
  file(
    'index.d.ts',
    "import main from './index.cjs'",
    'export default main',
    `export { ${named} } from './index.cjs'`,
    `export type { ${names} } from './index.cjs'`
  )
  return types
    .replace(
      declaration,
      `declare function gracefulUpgrade(...given: Parameters<${type}>): ReturnType<${type}>;`
    )
    .replace(
      exported,
      `declare namespace gracefulUpgrade {\n    export { ${values} };\n    export type { ${names} };\n}\nexport = gracefulUpgrade;\n`
    )
}
